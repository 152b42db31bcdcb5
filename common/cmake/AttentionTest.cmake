# attention_discover_tests(TARGET PREFIX [DEVICE] [LABELS label...]): each TEST_CASE of TARGET becomes the ctest test
# PREFIX.<name>. With DEVICE it needs the device of this build: where none answers it is skipped and says why. On
# the gpu preset its name then starts with "gpu.".
list(APPEND CMAKE_MODULE_PATH ${Catch2_DIR})
include(Catch)

function(attention_discover_tests target prefix)
  cmake_parse_arguments(PARSE_ARGV 2 arg "DEVICE" "" "LABELS")
  set(properties TIMEOUT 600)
  if(arg_DEVICE)
    list(APPEND properties SKIP_RETURN_CODE 77 ENVIRONMENT ATTENTION_TEST_NEEDS_DEVICE=1)
    if(ATTENTION_DEVICE STREQUAL "gpu")
      set(prefix gpu.${prefix})
    endif()
  endif()
  catch_discover_tests(${target} TEST_PREFIX "${prefix}." PROPERTIES ${properties} LABELS "${arg_LABELS}")
endfunction()
