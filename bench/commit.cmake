# Writes environment_commit.c at every build, and touches it only when the commit has changed.
set(ENV{GIT_OPTIONAL_LOCKS} 0) # a build is no reason to lock anybody's index
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=10 HEAD
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE rc)
execute_process(COMMAND git -C ${SOURCE} status --porcelain --untracked-files=no
    OUTPUT_VARIABLE changes ERROR_QUIET)
if(NOT rc EQUAL 0)
    set(commit "unknown")
elseif(NOT changes STREQUAL "")
    string(APPEND commit "-dirty")
endif()
set(text "#include \"bench/report/environment.h\"\n\nconst char *environment_commit(void)\n{\n    return \"${commit}\";\n}\n")
set(before "")
if(EXISTS ${OUTPUT})
    file(READ ${OUTPUT} before)
endif()
if(NOT before STREQUAL text)
    file(WRITE ${OUTPUT} "${text}")
endif()
