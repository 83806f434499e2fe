/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This header has another folder in this QEMU.
 */

#include "qobject/qstring.h"
