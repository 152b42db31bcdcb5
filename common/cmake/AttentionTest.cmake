# attention_discover_tests(TARGET PREFIX [DEVICE] [CAPABILITY n] [LABELS label...]): each TEST_CASE of TARGET becomes the
# ctest test PREFIX.<name>. With DEVICE it needs the device of this build, with CAPABILITY one of just that compute
# capability (90): where none answers it is skipped and says why. On the gpu preset its name then starts with "gpu.".
list(APPEND CMAKE_MODULE_PATH ${Catch2_DIR})
include(Catch)

function(attention_discover_tests target prefix)
  cmake_parse_arguments(PARSE_ARGV 2 arg "DEVICE" "CAPABILITY" "LABELS")
  set(properties TIMEOUT 600)
  if(arg_DEVICE OR arg_CAPABILITY)
    if(NOT arg_CAPABILITY)
      set(arg_CAPABILITY any)
    endif()
    list(APPEND properties SKIP_RETURN_CODE 77 ENVIRONMENT ATTENTION_TEST_NEEDS_DEVICE=${arg_CAPABILITY})
    if(ATTENTION_DEVICE STREQUAL "gpu")
      set(prefix gpu.${prefix})
    endif()
  endif()
  catch_discover_tests(${target} TEST_PREFIX "${prefix}." PROPERTIES ${properties} LABELS "${arg_LABELS}")
endfunction()
