/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The part of libFuzzer's interface that the fuzz targets use.  clang documents
 * the interface, but Debian has no package with a header for it.
 */

#ifndef TESTS_FUZZ_LIBFUZZER_H
#define TESTS_FUZZ_LIBFUZZER_H

/* Ours.  libFuzzer calls it once, before the others.  Returns: 0. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Ours.  libFuzzer calls it with each input.  Returns: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ours.  Changes @data in place.  Returns: the new size, <= @max_size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

/*
 * libFuzzer's.  Changes @data in place; @max_size is at least @size and not 0.
 * Returns: the new size, <= @max_size.
 */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#endif
