/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This header has another name in this QEMU.
 */

#include "system/system.h"
