/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The name by which this QEMU includes our header.
 */

#include "sysemu/replay.h"
