// Tensor maps for TMA: of bf16 only, tiled with two dimensions or im2col with four.
#include "driver.h"
#include "tensor_map.h"
#include <cstring>

namespace standin {

// Fills in what both kinds share, or returns an error with a report.
static int encode(TensorMap& map, int type, unsigned rank, void* address, const uint64_t* sizes, const uint64_t* strides, const unsigned* steps,
                  int interleave, int swizzle, int fill) {
  auto refuse = [](const char* why) {
    report("cuTensorMapEncode: %s", why);
    return (int)INVALID_VALUE;
  };
  constexpr int BFLOAT16 = 9, SWIZZLE_NONE = 0, SWIZZLE_128B = 3;
  if (type != BFLOAT16 || interleave || fill || (swizzle != SWIZZLE_NONE && swizzle != SWIZZLE_128B)) {
    report("cuTensorMapEncode: the stand-in knows bf16 without interleaving, unswizzled or by 128 bytes, filled with zeros");
    return NOT_SUPPORTED;
  }
  if (!address || uintptr_t(address) % 16) return refuse("the address is not aligned to 16 bytes");
  map = {};
  map.magic = TensorMap::MAGIC;
  map.swizzled = swizzle == SWIZZLE_128B;
  map.rank = rank;
  map.base = (const char*)address;
  map.strides[0] = 2;
  for (unsigned i = 0; i < rank; i++) {
    if (!sizes[i] || sizes[i] > (1ull << 32)) return refuse("a size is 0 or above 2^32");
    if (steps[i] != 1) return NOT_SUPPORTED;
    map.sizes[i] = sizes[i];
    if (i == 0) continue;
    map.strides[i] = strides[i - 1];
    if (strides[i - 1] % 16 || strides[i - 1] >= (1ull << 40)) return refuse("a stride is no multiple of 16 bytes or not below 2^40");
    if (strides[i - 1] < map.strides[i - 1] * sizes[i - 1]) return refuse("a stride is smaller than what lies within it");
  }
  return OK;
}

static int finish(void* out, const TensorMap& map) {
  if (map.box[0] * 2 % 16) return INVALID_VALUE;
  if (map.swizzled && map.box[0] * 2 > 128) {
    report("cuTensorMapEncode: a box of %u bytes is wider than the 128 that are swizzled", map.box[0] * 2);
    return INVALID_VALUE;
  }
  memset(out, 0, 128);
  memcpy(out, &map, sizeof map);
  return OK;
}

}  // namespace standin
using namespace standin;

API cuTensorMapEncodeTiled(void* out, int type, unsigned rank, void* address, const uint64_t* sizes, const uint64_t* strides, const unsigned* box,
                           const unsigned* steps, int interleave, int swizzle, int, int fill) {
  LOCK;
  if (uintptr_t(out) % 64) return INVALID_VALUE;
  if (rank != 2) return NOT_SUPPORTED;
  TensorMap map;
  if (int error = encode(map, type, rank, address, sizes, strides, steps, interleave, swizzle, fill)) return error;
  for (unsigned i = 0; i < rank; i++) {
    if (!box[i] || box[i] > 256) {
      report("cuTensorMapEncodeTiled: a side of the box is %u, not 1 to 256", box[i]);
      return INVALID_VALUE;
    }
    map.box[i] = box[i];
  }
  return finish(out, map);
}

API cuTensorMapEncodeIm2col(void* out, int type, unsigned rank, void* address, const uint64_t* sizes, const uint64_t* strides, const int* lower,
                            const int* upper, unsigned channels, unsigned pixels, const unsigned* steps, int interleave, int swizzle, int, int fill) {
  LOCK;
  if (uintptr_t(out) % 64) return INVALID_VALUE;
  if (rank != 4) return NOT_SUPPORTED;
  TensorMap map;
  if (int error = encode(map, type, rank, address, sizes, strides, steps, interleave, swizzle, fill)) return error;
  map.im2col = true;
  for (int i = 0; i < 2; i++) {
    const bool inside = lower[i] >= -128 && lower[i] <= 127 && upper[i] >= -128 && upper[i] <= 127;
    if (!inside || (int64_t)sizes[i + 1] + upper[i] <= lower[i]) {
      report("cuTensorMapEncodeIm2col: corners %d and %d leave no pixel of %llu, or are not -128 to 127", lower[i], upper[i],
             (unsigned long long)sizes[i + 1]);
      return INVALID_VALUE;
    }
    map.lower[i] = lower[i];
    map.upper[i] = upper[i];
  }
  if (!channels || channels > 256 || !pixels || pixels > 1024) {
    report("cuTensorMapEncodeIm2col: %u channels of %u pixels, at most 256 of 1024", channels, pixels);
    return INVALID_VALUE;
  }
  map.box[0] = channels;
  map.box[1] = pixels;
  return finish(out, map);
}
