"""A tiny source tree that builds like llama.cpp: three programs and a library."""

import subprocess

from llama_build import EngineRequest

CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(tiny C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
option(TINY_LOUD "another version text" OFF)
option(GGML_NATIVE "as llama.cpp has it" ON)
add_library(tiny SHARED tiny.c)
target_compile_definitions(tiny PRIVATE COMMIT="${LLAMA_BUILD_COMMIT}" LOUD=$<BOOL:${TINY_LOUD}>)
foreach(program llama-server llama-perplexity llama-bench)
  add_executable(${program} main.c)
  target_link_libraries(${program} PRIVATE tiny)
endforeach()
"""


MAIN = "#include <stdio.h>\nconst char *tiny(void);\nint main(void) { puts(tiny()); return 0; }\n"


LIBRARY = 'const char *tiny(void) { return LOUD ? "TINY " COMMIT : "tiny " COMMIT; }\n'


def write_tree(folder, cmake=CMAKE, main=MAIN):
    folder.mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text(cmake)
    (folder / "main.c").write_text(main)
    (folder / "tiny.c").write_text(LIBRARY)
    return folder


def quiet(_line):
    pass


def says(program):
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


def source(tree, **options):
    return EngineRequest("source", path=tree, options=options)
