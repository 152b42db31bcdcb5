#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "attention/stage.hpp"

// What one call of a variant does, as facts for evidence.py. There are two programs of observe.cpp: one is
// linked to the emulated device, which counts (counted.cpp); the other is made of what nvcc compiles, linked
// to a CUDA runtime that only writes down what it is asked to do (recorded.cpp) and so needs no GPU.
namespace attention::evidence {

/// "counted" or "recorded".
const char* kind();

/// The shapes that every variant is observed at.
std::vector<Shape> shapes();

/// The device that variants are asked about.
Device device();

/// Calls the variant once, with its set_up before and its tear_down after.
nlohmann::json observe(const Variant& variant, const Problem& problem);

/// The harness's ways to time a call, as if they were variants of a stage; none where nothing is recorded.
nlohmann::json harness();

}  // namespace attention::evidence
