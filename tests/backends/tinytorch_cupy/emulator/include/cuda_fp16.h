// The types are in emulator.h.
