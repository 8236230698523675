/* terminal.c: see terminal.h. */
#include "engine/base/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

size_t terminal_columns(FILE *stream)
{
    struct winsize size;
    int fd = fileno(stream);
    if (fd < 0 || !isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}
