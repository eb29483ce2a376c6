#!/bin/bash
# kit.sh PATCHED_TREE FULL_TWIN.py SCRIPT.json TEXT FOLDER: what the device machine needs, into FOLDER (11 MB). FOLDER must lie where
# the machine's calls find it. PATCHED_TREE: the pinned source with all patches, as `git apply` leaves it.
# FULL_TWIN.py writes twins of true size (needs the package gguf, which is taken from this Python); TEXT: any 60 KB for KL divergence.
set -e
tree=$1 twin=$2 script=$3 text=$4 to=$5 here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$to"
tar czf "$to/source.tar.gz" -C "$tree" --exclude='*.png' --exclude='*.jpg' --exclude='*.mp3' --exclude='*.gguf' --exclude=tools/ui/src \
    --exclude=tools/ui/static --exclude=tools/ui/tests CMakeLists.txt LICENSE licenses cmake common ggml include src vendor tools tests \
    examples/CMakeLists.txt scripts pocs
cp "$twin" "$to/full_twin.py"
cp "$script" "$to/script.json"
cp "$text" "$to/text.txt"
cp "$here"/{depth_bench.cpp,step_profile.cpp,build.sh,check.sh,server_check.py} "$to"
cp -r "$(python3 -c 'import gguf, pathlib; print(pathlib.Path(gguf.__file__).parent)')" "$to/"
