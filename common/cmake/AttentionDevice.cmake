# attention::device: what host and device code include and link to reach the device of this build. Stages and
# harness see the same headers and functions either way; only this file knows which device it is.

option(ATTENTION_SANITIZE "Compile with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)

add_library(attention_warnings INTERFACE)
target_compile_options(attention_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unknown-pragmas>)

if(ATTENTION_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

# What nvcc is told beside the optimisation: -lineinfo lets profilers and sanitizers name source lines and costs nothing
# at run time.
set(ATTENTION_NVCC_OPTIONS -lineinfo --expt-relaxed-constexpr)

add_library(attention_device INTERFACE)
add_library(attention::device ALIAS attention_device)

if(ATTENTION_DEVICE STREQUAL "gpu")
  # Ampere, consumer Ampere, Ada, Hopper with its architecture-specific instructions (wgmma, setmaxnreg).
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real)
  endif()
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    # CMake 3.25 does not know that nvcc has C++20.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  find_package(CUDAToolkit REQUIRED)
  target_link_libraries(attention_device INTERFACE CUDA::cudart_static)
  target_include_directories(attention_device INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_options(attention_device INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${ATTENTION_NVCC_OPTIONS}>")
else()
  add_subdirectory(${PROJECT_SOURCE_DIR}/common/emulator ${PROJECT_BINARY_DIR}/common/emulator)
  target_link_libraries(attention_device INTERFACE attention_emulator)
  # Before common/include: the emulated device has its own attention/ptx.cuh.
  target_include_directories(attention_device INTERFACE ${PROJECT_SOURCE_DIR}/common/emulator/include)
endif()
target_include_directories(attention_device INTERFACE ${PROJECT_SOURCE_DIR}/common/include)

# attention_kernels(NAME [TRACED_ON_DEMAND] SOURCE...): a library of CUDA source files. With nvcc, a static library. On the
# emulated device two shared libraries of one file name: the plain one, and a traced one (every access to memory
# reported to the emulator) in lib/traced. The dynamic linker picks: the emulator restarts a program with
# LD_LIBRARY_PATH=lib/traced where tracing is asked for, so one program serves both. Shared libraries also give
# each set of kernels a thread-local segment of its own, which is the static shared memory of its blocks.
# The traced library is built with the plain one, or with TRACED_ON_DEMAND only where something depends on
# <NAME>_traced.
function(attention_kernels name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TRACED_ON_DEMAND" "" "")
  set(sources ${arg_UNPARSED_ARGUMENTS})
  if(ATTENTION_DEVICE STREQUAL "gpu")
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC attention::device)
  else()
    set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX)
    set(flavours plain traced)
    if(ATTENTION_SANITIZE)
      set(flavours plain)  # a compiler has hooks for one kind of checker at a time
    endif()
    foreach(flavour IN LISTS flavours)
      set(target ${name})
      if(flavour STREQUAL "traced")
        set(target ${name}_traced)
      endif()
      add_library(${target} SHARED ${sources})
      target_link_libraries(${target} PUBLIC attention::device PRIVATE attention_emulator_${flavour}_kernels)
    endforeach()
    if(NOT ATTENTION_SANITIZE)
      set_target_properties(${name}_traced PROPERTIES
        OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/traced)
      if(NOT arg_TRACED_ON_DEMAND)
        add_dependencies(${name} ${name}_traced)
      endif()
    endif()
  endif()
endfunction()
