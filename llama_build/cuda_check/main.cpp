#include <cstdio>

int toolkit_version();

int main() {
    std::printf("%d\n", toolkit_version());
    return toolkit_version() > 0 ? 0 : 1;
}
