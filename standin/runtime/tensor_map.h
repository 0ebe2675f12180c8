// What the stand-in keeps in the 128 bytes of a CUtensorMap: driver/tensor_map.cpp writes it, runtime/mbarrier.cpp reads it.
#pragma once
#include <cstdint>

namespace standin {

struct TensorMap {
  static constexpr uint32_t MAGIC = 0x544d4150;
  uint32_t magic;
  bool im2col, swizzled;
  uint8_t rank;
  uint64_t unused = 0;     // programs clear a bit of the second word: a defect of drivers up to 13.1
  const char* base;
  uint32_t sizes[4];       // elements of bf16, the innermost first
  uint64_t strides[4];     // bytes; the first is that of an element
  uint32_t box[2];         // tiled: sizes of the box. im2col: channels and pixels
  int8_t lower[2], upper[2];  // im2col: corners of the box of pixels, along w and h
};
static_assert(sizeof(TensorMap) <= 128, "a CUtensorMap holds it");

}  // namespace standin
