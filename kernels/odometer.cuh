// Walking through three nested loops without dividing.
#pragma once
#include "portable.cuh"

// A position in a block of nx · ny · many elements that advances by a fixed step without dividing: x runs fastest.
struct Odometer {
  int x, y, z;
  int nx, ny;
  int dx, dy, dz;

  __device__ __forceinline__ Odometer(int at, int step, int nx_, int ny_) : nx(nx_), ny(ny_) {
    x = at % nx, y = at / nx % ny, z = at / nx / ny;
    dx = step % nx, dy = step / nx % ny, dz = step / nx / ny;
  }

  __device__ __forceinline__ void advance() {
    x += dx;
    const bool carry_x = x >= nx;
    x -= carry_x ? nx : 0;
    y += dy + (carry_x ? 1 : 0);
    const bool carry_y = y >= ny;
    y -= carry_y ? ny : 0;
    z += dz + (carry_y ? 1 : 0);
  }

  // Advances by one element.
  __device__ __forceinline__ void next() {
    if (++x == nx) {
      x = 0;
      if (++y == ny) {
        y = 0;
        z++;
      }
    }
  }
};
