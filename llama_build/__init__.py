"""Engine recipes: pinned source, CMake presets, patches, build cache."""
