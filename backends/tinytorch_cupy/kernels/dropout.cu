// Inverted dropout (Srivastava et al. 2014, JMLR 15, section 4), which scales during training.
//
// The mask is a hash of the run and the step (both in key), the call site and the index of the element, plus first. Nothing is stored for
// the backward pass, which is the same kernel on g. The mask is the same on every backend.
#include "spans.cuh"

extern "C" __global__ void dropout(const T* x, T* out, Size n, const int* key, int site, Word first, int threshold, float scale) {
    Word hashed_key = hash_key(key, site);
    map(x, out, n, thread_of_grid(), threads_of_grid(),
        [=](Size i, float a) { return is_kept(hashed_key, first + (Word)i, threshold) ? a * scale : 0.0f; });
}
