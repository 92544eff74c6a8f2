#include <stdio.h>

int main(void) {
    fputs("usage: see the README\n", stderr);
    return 2;
}
