// Keeps a GPU busy: what a neighbour does to a measurement. burner SECONDS
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

__global__ void burn(float * out) {
    float x = threadIdx.x + 1.0f;
    for (int i = 0; i < 1 << 16; i++) {
        x = x * 1.000001f + 0.5f;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = x;
}

int main(int argc, char ** argv) {
    const double seconds = argc > 1 ? atof(argv[1]) : 10.0;
    const int blocks = 2048, threads = 256;
    float * out = nullptr;
    if (cudaMalloc(&out, sizeof(float) * blocks * threads) != cudaSuccess) {
        fprintf(stderr, "burner: no GPU memory\n");
        return 1;
    }
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
        burn<<<blocks, threads>>>(out);
        cudaDeviceSynchronize();
    }
    return 0;
}
