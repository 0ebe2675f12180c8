// Which sample an image of a batch is, and whether it becomes an anomaly: the random draws of `src/data/batches.rs`.
#pragma once
#include "philox.cuh"
#include "hyper.cuh"

// `supervise::Supervise`, and OFFLINE: anomalies that were made before training and follow the normal images.
enum class Supervision { UNSUPERVISED, OTHER, NOISE, MALFORMED_NORMAL, MALFORMED_NORMAL_GT, OFFLINE };

// Which anomalies are meant, where labelled ones and noise modes share them: those whose lot, one of `of`, lies in from..until.
struct Lots {
  unsigned from, until, of;
};

// Which samples the images of a batch are: image i is sample order[clock[CLOCK_BATCH] · stride + i] of epoch clock[CLOCK_EPOCH].
struct Draw {
  const unsigned *clock, *order;
  unsigned long long seed;
  unsigned stride;
  Supervision supervise;
  Lots lots;
};

struct Sample {
  unsigned long long seed;
  unsigned epoch, number;
  unsigned chance;  // draws its lot
  bool anomalous;

  // Whether it is one of the anomalies that are meant.
  __device__ __forceinline__ bool is_of(const Lots& lots) const {
    const unsigned lot = scaled(chance, lots.of);
    return anomalous && lots.from <= lot && lot < lots.until;
  }

  __device__ __forceinline__ Stream stream(Purpose purpose) const { return Stream(seed, purpose, epoch, number); }

  // Which of `count` normal images it is drawn from.
  __device__ __forceinline__ unsigned image(unsigned count) const { return number % count; }

  // Another of `count` normal images; the same where there is no other.
  __device__ __forceinline__ unsigned another(unsigned count) const {
    const unsigned step = 1 + stream(Purpose::SUPERVISE).below(2, max(count, 2u) - 1), before = count - step;
    return image(count) < before ? image(count) + step : image(count) - before;
  }

  // Which of `count` labelled anomalies or outliers replaces it or is added to it.
  __device__ __forceinline__ unsigned pick(unsigned count) const { return stream(Purpose::SUPERVISE).below(1, count); }
};

// Image `image` of the batch. It counts as anomalous if it is one of the anomalies that are meant.
__device__ __forceinline__ Sample drawn(const Draw& draw, unsigned image) {
  const unsigned epoch = shown(draw.clock, CLOCK_EPOCH);
  const unsigned number = draw.order[static_cast<size_t>(shown(draw.clock, CLOCK_BATCH)) * draw.stride + image];
  const Words4 chance = Stream(draw.seed, Purpose::SUPERVISE, epoch, number).block(0);
  const bool becomes_one = draw.supervise != Supervision::UNSUPERVISED && chance.word[0] >> 31;
  Sample sample = {draw.seed, epoch, number, chance.word[3], becomes_one};
  sample.anomalous = sample.is_of(draw.lots);
  return sample;
}
