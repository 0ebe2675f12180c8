// A norm's channels, as kernels take them.
#pragma once

// One value per channel. Without a norm mean and var are null; gamma and beta may be.
struct NormChannels {
  const float *mean, *var, *gamma, *beta;
  float eps;
};
