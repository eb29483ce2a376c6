"""The dress rehearsal: host dgx at true scale on another GPU. `kit` packs it, `install` sets it up there, `__main__` runs it."""
