# attention_stage(NAMESPACE <name> [KERNELS <stem>...] [HOPPER <stem>...] [SOURCES <file>...] [CHOOSES_FROM <stage>...]):
# everything that a stage's folder makes:
#   kernels_<stage>_<stem>   the device code of <stem>.cu, a library of its own; one file a variant
#   traced_<stage>           on the emulated device, the same with every access to memory reported
#   <stage>                  its program, bin/<stage>
#   test_<stage>             the conformance suite and its own test.cpp, as ctest tests labelled <stage>
# The folder's name is the stage's name; stage.cpp defines `const Stage stage` in the namespace given as NAMESPACE
# inside attention: attention_stage(NAMESPACE naive KERNELS unfused one_pass). Optional are test.cpp and
# test_counters.cpp (what only the emulated device can show).
#
# HOPPER names the CUDA sources that include attention/hopper.cuh. A GPU build compiles them for sm_90a alone, whatever
# else it is for; the stage's `supports` refuses other GPUs in words.
# SOURCES names host code beside stage.cpp.
# CHOOSES_FROM names stages whose variants this one calls.

function(attention_stage)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAMESPACE" "KERNELS;HOPPER;SOURCES;CHOOSES_FROM")
  get_filename_component(stage ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set_property(GLOBAL APPEND PROPERTY attention_stages ${stage})
  set_property(GLOBAL APPEND PROPERTY attention_namespaces ${arg_NAMESPACE})

  add_library(stage_${stage} STATIC stage.cpp ${arg_SOURCES})
  target_link_libraries(stage_${stage} PUBLIC attention_harness)
  set(cuda_sources "")
  foreach(stem IN LISTS arg_KERNELS arg_HOPPER)
    set(kernels kernels_${stage}_${stem})
    attention_kernels(${kernels} TRACED_ON_DEMAND ${stem}.cu)
    target_link_libraries(stage_${stage} PUBLIC ${kernels})
    list(APPEND cuda_sources ${CMAKE_CURRENT_SOURCE_DIR}/${stem}.cu)
    if(stem IN_LIST arg_HOPPER)
      target_link_libraries(${kernels} PUBLIC attention_harness)  # it makes tensor maps
      if(ATTENTION_DEVICE STREQUAL "gpu")
        set_target_properties(${kernels} PROPERTIES CUDA_ARCHITECTURES 90a-real)
      endif()
    endif()
    if(ATTENTION_DEVICE STREQUAL "gpu")
      # Accumulators fill nearly all registers; one too many would go to memory. The build says so.
      target_compile_options(${kernels} PRIVATE
        $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=--warn-on-spills,--warn-on-local-memory-usage>)
    endif()
  endforeach()
  set_property(GLOBAL PROPERTY attention_cuda_sources_${stage} ${cuda_sources})  # for the evidence
  attention_traced_stage(${stage} ${arg_KERNELS} ${arg_HOPPER})
  foreach(other IN LISTS arg_CHOOSES_FROM)
    target_link_libraries(stage_${stage} PUBLIC stage_${other})
    if(TARGET traced_${stage})
      add_dependencies(traced_${stage} traced_${other})
    endif()
  endforeach()

  attention_registry(${stage} "${arg_NAMESPACE}")
  add_executable(${stage} registry_${stage}.cpp)
  target_link_libraries(${stage} PRIVATE attention_main stage_${stage} attention_runner)

  set(tests "")
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/test.cpp)
    list(APPEND tests test.cpp)
  endif()
  if(ATTENTION_DEVICE STREQUAL "emulated" AND NOT ATTENTION_SANITIZE AND
     EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/test_counters.cpp)
    list(APPEND tests test_counters.cpp)  # needs traced kernels, which those sanitizers exclude
  endif()
  add_executable(test_${stage} ${tests} registry_${stage}.cpp)
  target_link_libraries(test_${stage} PRIVATE attention_conformance stage_${stage} attention_test_main)
  if(TARGET traced_${stage})
    add_dependencies(test_${stage} traced_${stage})
  endif()
  attention_discover_tests(test_${stage} ${stage} LABELS ${stage} DEVICE)
  attention_memory_tests(${stage})
endfunction()

# Target traced_<stage>: the traced flavour of a stage's kernels, which programs need for --profile and --check-memory.
function(attention_traced_stage stage)
  if(NOT ATTENTION_DEVICE STREQUAL "emulated" OR ATTENTION_SANITIZE)
    return()
  endif()
  add_custom_target(traced_${stage})
  foreach(stem IN LISTS ARGN)
    add_dependencies(traced_${stage} kernels_${stage}_${stem}_traced)
  endforeach()
endfunction()

# On the emulated device, every variant of a stage with every access to memory checked: races, uninitialised and stray
# accesses, copies read before they were waited for. Shapes small enough for a traced run, ragged at every tile.
function(attention_memory_tests stage)
  if(NOT ATTENTION_DEVICE STREQUAL "emulated" OR ATTENTION_SANITIZE)
    return()
  endif()
  foreach(shape "--seq-q 65 --seq-kv 129 --heads 2 --kv-heads 1 --causal"
                "--seq-q 17 --seq-kv 257 --heads 1 --head-dim 128"
                "--seq-q 130 --seq-kv 600 --heads 1")
    separate_arguments(arguments UNIX_COMMAND "${shape}")
    set(test "${stage}.memory is used rightly (${shape})")
    add_test(NAME ${test} COMMAND ${stage} --check-memory ${arguments})
    set_tests_properties(${test} PROPERTIES LABELS ${stage} TIMEOUT 600)
  endforeach()
endfunction()

# attention_every_stage(TARGET): links an executable to every stage, in ladder order.
function(attention_every_stage target)
  get_property(stages GLOBAL PROPERTY attention_stages)
  get_property(namespaces GLOBAL PROPERTY attention_namespaces)
  attention_registry(${target} "${namespaces}")
  target_sources(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/registry_${target}.cpp)
  foreach(stage IN LISTS stages)
    target_link_libraries(${target} PRIVATE stage_${stage})
  endforeach()
endfunction()

# The program `ladder`, the shared main linked to every stage; `fuzz`, every variant on random problems; and the test
# that steps between variants are small.
function(attention_ladder)
  add_executable(ladder)
  target_link_libraries(ladder PRIVATE attention_main attention_runner)
  attention_every_stage(ladder)

  add_executable(fuzz ${PROJECT_SOURCE_DIR}/common/src/fuzz.cpp)
  target_link_libraries(fuzz PRIVATE attention_runner CLI11::CLI11 fmt::fmt)
  attention_every_stage(fuzz)
  # A fresh seed each time, in the output of the test.
  add_test(NAME "fuzz.random problems" COMMAND fuzz --seconds 15)
  add_test(NAME "fuzz.random problems for a minute" COMMAND fuzz --seconds 60)
  set_tests_properties("fuzz.random problems" "fuzz.random problems for a minute" PROPERTIES
    LABELS fuzz SKIP_RETURN_CODE 3 TIMEOUT 300)
  set_tests_properties("fuzz.random problems for a minute" PROPERTIES LABELS "fuzz;slow")

  add_executable(test_steps ${PROJECT_SOURCE_DIR}/tests/test_steps.cpp)
  target_link_libraries(test_steps PRIVATE attention_test_main)
  target_compile_definitions(test_steps PRIVATE ATTENTION_STAGES="${PROJECT_SOURCE_DIR}/stages")
  attention_every_stage(test_steps)
  attention_discover_tests(test_steps steps LABELS steps)
endfunction()

# Writes registry_<name>.cpp, the definition of attention::registry() for the stages of these namespaces.
function(attention_registry name namespaces)
  set(declarations "")
  set(pointers "")
  foreach(namespace IN LISTS namespaces)
    string(APPEND declarations "namespace attention::${namespace} { extern const Stage stage; }\n")
    string(APPEND pointers "    &attention::${namespace}::stage,\n")
  endforeach()
  file(CONFIGURE OUTPUT registry_${name}.cpp @ONLY CONTENT [[
// Generated by attention_registry() in common/cmake/AttentionStage.cmake.
#include "attention/stage.hpp"

@declarations@
std::span<const attention::Stage* const> attention::registry() {
  static const attention::Stage* const stages[] = {
@pointers@  };
  return stages;
}
]])
endfunction()
