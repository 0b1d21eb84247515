// Its types are in emulator.h.
