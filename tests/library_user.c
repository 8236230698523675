/* library_user.c: a program of someone who uses the installed library; built by test_library.sh, not part of our build. Its
 * one argument is the folder of the sources, where the demonstration model lies. */
#include <stdio.h>
#include <string.h>

#include <strata.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    const char *version = strata_version();
    printf("strata %s\n", version);
    return strlen(version) > 0 ? 0 : 1;
}
