// A program that is stopped after each instruction. All calls on the thread that started it.
#ifndef SINGLE_STEP_H
#define SINGLE_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stepped {
	int pid;
	int memory;
	// What has to be delivered with the next step.
	int signal;
	// By DWARF number: 6 rbp, 7 rsp, 16 rip.
	uint64_t registers[17];
};

// Starts a program and runs it to its first int3. False: it can't be started or never comes there.
bool stepped_start(struct stepped *program, const char *path);

// One instruction. False: it has come to another int3, or ended.
bool stepped_step(struct stepped *program);

// An unwind_read; the context is the program.
bool stepped_read(void *program, uint64_t address, void *to, size_t size);

void stepped_end(struct stepped *program);

#endif
