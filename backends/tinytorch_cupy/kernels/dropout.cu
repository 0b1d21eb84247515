// Dropout (Srivastava et al. 2014, JMLR 15, section 4), in the form that scales while training.
//
// What is dropped is decided by a hash of the run's key, the step's number (both in key), the site and the element's place (counted from
// first), so nothing is kept for the backward pass: it draws the same again, on g. The bits are those of every other backend.
#include "spans.cuh"

extern "C" __global__ void dropout(const T* x, T* out, Size n, const int* key, int site, Word first, int threshold, float scale) {
    Word stream = random_stream(key, site);
    map(x, out, n, thread_of_grid(), threads_of_grid(),
        [=](Size i, float a) { return kept(stream, first + (Word)i, threshold) ? a * scale : 0.0f; });
}
