#include <cublas_v2.h>
#include <cuda.h>
#include <cuda_runtime.h>

__global__ void kernel(int * out) { *out = 1; }

// names a symbol of each library, so that the linker keeps all of them; nothing here needs a GPU
int toolkit_version() {
    int runtime = 0, blas = 0;
    cudaRuntimeGetVersion(&runtime);
    cublasGetProperty(MAJOR_VERSION, &blas);
#ifndef GGML_CUDA_NO_VMM
    const char * name = nullptr;
    cuGetErrorName(CUDA_SUCCESS, &name);
#endif
    return blas > 0 ? runtime : 0;
}
