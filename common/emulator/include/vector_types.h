#pragma once

#include "emulator/vector_types.hpp"
