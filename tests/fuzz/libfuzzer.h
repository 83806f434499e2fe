/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libFuzzer's interface, as far as it is used here.  clang documents it, and
 * Debian packages no header of it.
 */

#ifndef TESTS_FUZZ_LIBFUZZER_H
#define TESTS_FUZZ_LIBFUZZER_H

/* Ours, called once before anything else.  Returns: 0. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Ours, called with each input.  Returns: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ours, changes @data in its place.  Returns: the new size, <= @max_size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

/* libFuzzer's, likewise; @max_size is at least @size and not 0. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#endif
