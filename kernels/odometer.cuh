// The indices of three nested loops, advanced by a fixed step without divisions.
#pragma once
#include "portable.cuh"

// An index into elements [·, ny, nx] as (x, y, z), x running fastest.
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

  // Advances by one element instead of the step.
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
