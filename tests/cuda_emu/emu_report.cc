/* emu_report.cc: what the emulation has to say: each violation counted, and told once per kind and place of the source. */
#include "tests/cuda_emu/emu_core.hh"

#include <dlfcn.h>
#include <map>
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <unistd.h>

namespace emu
{

static size_t n_reports;
static bool quiet;
static std::string report_log;
static std::set<std::pair<const void *, std::string>> seen;

/* "file:line" of an address within this program, the innermost frame of kernels/ when functions were inlined. */
static std::string look_up(const void *where)
{
    Dl_info info;
    if (!where || !dladdr(where, &info) || !info.dli_fname)
        return "?";
    char command[1024], line[1024];
    std::string found = "?";
    snprintf(command, sizeof command, "addr2line -i -e '%s' %#zx 2>/dev/null", info.dli_fname,
             (size_t)((const char *)where - (const char *)info.dli_fbase) - 1);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) {
        std::string s(line);
        while (!s.empty() && (s.back() == '\n' || s.back() == ')')) {
            if (s.back() == ')' && s.rfind(" (") != std::string::npos)
                s.resize(s.rfind(" ("));
            else
                s.pop_back();
        }
        if (s.find("emu_device.hh") != std::string::npos || s.find("cuda_device.cuh") != std::string::npos)
            continue;
        size_t at = s.rfind("kernels/");
        found = at == std::string::npos ? s : s.substr(at);
        break;
    }
    if (f)
        pclose(f);
    return found;
}

static std::string source_of(const void *where)
{
    static std::map<const void *, std::string> known; /* addr2line takes a while */
    auto it = known.find(where);
    return it != known.end() ? it->second : known[where] = look_up(where);
}

static void report_v(const void *where, Place place, const char *format, va_list args)
{
    n_reports++;
    std::string kind = place.file ? std::string(format) + place.file + std::to_string(place.line) : std::string(format);
    if (!seen.insert({where, kind}).second)
        return;
    char text[700];
    vsnprintf(text, sizeof text, format, args);
    std::string at = place.file ? std::string(place.file) + ":" + std::to_string(place.line) : quiet ? "" : source_of(where);
    char who[160] = "host";
    if (current) {
        const Self &s = current->self;
        snprintf(who, sizeof who, "block (%u, %u, %u) thread (%u, %u, %u)", s.block.x, s.block.y, s.block.z, s.thread.x,
                 s.thread.y, s.thread.z);
    }
    std::string line = std::string("emu: ") + kernel_name + ": " + at + ": " + who + ": " + text + "\n";
    if (report_log.size() < 1 << 20)
        report_log += line;
    if (!quiet) {
        fputs(line.c_str(), stdout);
        fflush(stdout);
        if (getenv("STRATA_EMU_STOP"))
            _exit(97);
    }
}

void report_at(const void *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_v(where, Place{nullptr, 0}, format, args);
    va_end(args);
}

void report_place(Place place, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_v(nullptr, place, format, args);
    va_end(args);
}

void __attribute__((noinline)) report(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_v(__builtin_return_address(0), Place{nullptr, 0}, format, args);
    va_end(args);
}

} // namespace emu

using namespace emu;

extern "C" {

size_t emu_reports(void)
{
    return n_reports;
}

void emu_clear(void)
{
    n_reports = 0;
    report_log.clear();
    seen.clear();
}

const char *emu_report_log(void)
{
    return report_log.c_str();
}

void emu_quiet(bool q)
{
    quiet = q;
}
}
