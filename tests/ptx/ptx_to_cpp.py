#!/usr/bin/env python3
"""ptx_to_cpp.py IN.ptx OUT.cc: the kernels of a PTX module as C++, line for line: what one thread does.

An instruction becomes a call of the function of its name in ptx_isa.hh, dots turned into underlines, its types the template's
arguments: "fma.rn.f32 %f1, %f2, %f3, 0f3F800000;" is fma_rn<f32>(F1, F2, F3, 0x3F800000ull). Registers are variables of raw bits, in capitals. What
the header lacks, or a register of another width, is an error of the C++ compiler; what this script does not know is one here. Addresses
come first among a call's arguments, vectors are taken apart, and .v2 or .v4 is what the number of registers says.

Shared memory and parameters: a name stands for its address (32 bits in the shared window, 64 bits for parameters and local memory)."""
import math
import re
import sys

WIDTHS = {"pred": "bool", "b8": "r8", "u8": "r8", "s8": "r8", "b16": "r16", "u16": "r16", "s16": "r16", "f16": "r16", "b32": "r32",
          "u32": "r32", "s32": "r32", "f32": "r32", "b64": "r64", "u64": "r64", "s64": "r64", "f64": "r64"}
TYPES = set(WIDTHS) | {"bf16", "bf16x2", "f16x2"}
BYTES = {"bool": 1, "r8": 1, "r16": 2, "r32": 4, "r64": 8}


class Module:
    def __init__(self):
        self.out, self.dynamic, self.n_kernels, self.depth = [], [], 0, 0

    def fail(self, message):
        sys.exit(f"{sys.argv[1]}:{len(self.out) + 1}: {message}")

    # ---- declarations ----

    def begin_kernel(self, name):
        self.name, self.params, self.param_bytes, self.max_threads = name, {}, 0, 1024

    def param(self, text):
        m = re.fullmatch(r"\.param (?:\.align (\d+) )?\.(\w+) (\w+)(?:\[(\d+)\])?,?", text)
        if not m or m[2] not in WIDTHS:
            self.fail(f"a parameter that is not understood: {text}")
        size = BYTES[WIDTHS[m[2]]]
        align, size = int(m[1] or size), size * int(m[4] or 1)
        self.params[m[3]] = (self.param_bytes + align - 1) // align * align
        self.param_bytes = self.params[m[3]] + size

    def open_kernel(self):
        names = "".join(f" const r32 {n} = shared_dynamic();" for n in self.dynamic)
        return f"static void kernel_{self.n_kernels}(r64 params) {{{names}"

    def close_kernel(self):
        self.n_kernels += 1
        return f'}} static Entry entry_{self.n_kernels - 1}("{self.name}", kernel_{self.n_kernels - 1}, {self.param_bytes}, {self.max_threads});'

    def registers(self, text):
        m = re.fullmatch(r"\.reg \.(\w+) (.+);", text)
        if not m or m[1] not in WIDTHS:
            self.fail(f"registers that are not understood: {text}")
        names = []
        for part in m[2].replace("%", "").upper().split(","):
            n = re.fullmatch(r"\s*(\w+)(?:<(\d+)>)?\s*", part)
            names += [f"{n[1]}{i}" for i in range(int(n[2]))] if n[2] else [n[1]]
        return f"{WIDTHS[m[1]]} {', '.join(names)};"

    def shared(self, text):
        m = re.fullmatch(r"\.shared \.align (\d+) \.b8 (\w+)\[(\d+)\];", text)
        if not m or int(m[1]) > 16:
            self.fail(f"shared memory that is not understood: {text}")
        return f"static const char {m[2]}_key = 0; const r32 {m[2]} = shared_static(&{m[2]}_key, {m[3]});"

    def local(self, text):
        m = re.fullmatch(r"\.local \.align (\d+) \.b8 (\w+)\[(\d+)\];", text)
        if not m:
            self.fail(f"local memory that is not understood: {text}")
        return f"alignas({m[1]}) r8 {m[2]}_bytes[{m[3]}]; const r64 {m[2]} = local({m[2]}_bytes, {m[3]});"

    # ---- instructions ----

    def operand(self, text):
        """One that is no vector and no address."""
        special = re.fullmatch(r"%(n?tid|n?ctaid)\.([xyz])", text)
        if special:
            return f"{special[1]}({'xyz'.index(special[2])})"
        if re.fullmatch(r"%\w+", text):
            return text[1:].upper()
        if re.fullmatch(r"0[fd][0-9a-fA-F]+", text):
            return f"0x{text[2:]}ull"
        if re.fullmatch(r"-?\d+", text):
            return f"{int(text) & 0xFFFFFFFFFFFFFFFF:#x}ull"
        if text in self.params:
            return f"params + {self.params[text]}"
        if re.fullmatch(r"[A-Za-z_]\w*", text):
            return text
        self.fail(f"an operand that is not understood: {text}")

    def address(self, text):
        base, plus, offset = text.partition("+")
        return self.operand(base) + (f" + {self.operand(offset)}" if plus else "")

    def instruction(self, text):
        m = re.fullmatch(r"(?:@(!?)%(\w+) )?([a-z]\w*(?:\.[\w:]+)*)(?: (.+))?;", text)
        if not m:
            self.fail(f"a line that is not understood: {text}")
        guard = f"if ({m[1]}{m[2].upper()}) " if m[2] else ""
        parts, rest = m[3].split("."), m[4] or ""
        if parts[0] == "bra":
            return f"{guard}goto {rest.replace('$', '')};"
        if parts[0] == "ret":
            return f"{guard}return;"
        types = [p for p in parts[1:] if p in TYPES]
        name = "_".join(p for p in parts if p not in TYPES and p not in ("v2", "v4", "uni"))
        addresses, values, sides = [], [], []
        for item in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^\s,|]+", rest):
            sides.append(item[0])
            if item[0] == "[":
                addresses.append(self.address(item[1:-1].strip()))
            else:
                values += [self.operand(v.strip()) for v in item.strip("{}").split(",")]
        if parts[0] == "mov" and "{" in sides:
            name += "_unpack" if sides[0] == "{" else "_pack"
        template = f"<{', '.join(types)}>" if types else ""
        return f"{guard}{name}{template}({', '.join(addresses + values)});"

    # ---- lines ----

    def line(self, text):
        """The C++ of one line."""
        if not text or text.startswith(("//", ".version", ".target", ".address_size", ".loc ", ".file ")):
            return ""
        entry = re.fullmatch(r"\.visible \.entry (\w+)\((\))?", text)
        if entry:
            return self.begin_kernel(entry[1])
        if text.startswith(".param"):
            return self.param(text)
        if text in (")", ".pragma \"nounroll\";"):
            return ""
        if text.startswith(".maxntid"):
            self.max_threads = math.prod(int(n) for n in re.findall(r"\d+", text))
            return ""
        if text.startswith(".extern .shared"):
            self.dynamic.append(re.fullmatch(r"\.extern \.shared \.align (?:16|8|4|2|1) \.b8 (\w+)\[\];", text)[1])
            return ""
        if text == "{":
            self.depth += 1
            return self.open_kernel() if self.depth == 1 else "{"
        if text == "}":
            self.depth -= 1
            return self.close_kernel() if self.depth == 0 else "}"
        if text.startswith(".reg"):
            return self.registers(text)
        if text.startswith(".shared"):
            return self.shared(text)
        if text.startswith(".local"):
            return self.local(text)
        label = re.fullmatch(r"\$(\w+):", text)
        return f"{label[1]}:;" if label else self.instruction(text)

    def translate(self, ptx):
        for raw in ptx.split("\n"):
            text = re.sub(r"\s+", " ", raw.split("//")[0]).strip()
            self.out.append(self.line(text) or "")


def main():
    source, target = sys.argv[1:]
    module = Module()
    with open(source, encoding="ascii") as f:
        module.translate(f.read())
    with open(target, "w", encoding="ascii") as f:
        f.write('#include "tests/ptx/ptx_isa.hh"\nnamespace ptx {\n' f'#line 1 "{source}"\n')
        f.write("\n".join(module.out) + "\n}\n")


main()
