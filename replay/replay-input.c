/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Keys, buttons and pointers.  An input event has four numbers: its type; a
 * selector (the kind of key code, the button, or the axis); a value (the key
 * code, the distance or the position); and whether the key or button is pressed
 * (1) or released (0).
 */

#include "qemu/osdep.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ui.h"
#include "qemu/error-report.h"
#include "sysemu/replay.h"
#include "ui/input.h"
#include "replay-kinds.h"
#include "replay-stream.h"

typedef struct ReplayInput {
    ReplayEvent ev;
    InputEvent *input;      /* owned; NULL for an ASYNC_INPUT_SYNC event */
} ReplayInput;

static ReplayEvent *replay_input_new(const ReplayEventOps *ops,
                                     InputEvent *input)
{
    ReplayInput *s = g_new(ReplayInput, 1);

    s->ev.ops = ops;
    s->input = input;
    return &s->ev;
}

static void replay_input_save(const ReplayEvent *ev)
{
    const InputEvent *input = container_of(ev, ReplayInput, ev)->input;
    const KeyValue *key;
    uint64_t num[4] = { input->type };

    switch (input->type) {
    case INPUT_EVENT_KIND_KEY:
        key = input->u.key.data->key;
        num[1] = key->type;
        num[2] = key->type == KEY_VALUE_KIND_NUMBER ? key->u.number.data
                                                    : key->u.qcode.data;
        num[3] = input->u.key.data->down;
        break;
    case INPUT_EVENT_KIND_BTN:
        num[1] = input->u.btn.data->button;
        num[3] = input->u.btn.data->down;
        break;
    case INPUT_EVENT_KIND_REL:
        num[1] = input->u.rel.data->axis;
        num[2] = input->u.rel.data->value;
        break;
    case INPUT_EVENT_KIND_ABS:
        num[1] = input->u.abs.data->axis;
        num[2] = input->u.abs.data->value;
        break;
    default:
        g_assert_not_reached();
    }
    replay_put(ev->ops->kind, num, NULL, 0);
}

/*
 * Fills in @input from @num; @input then points to one or two of the arguments
 * behind it.  Returns: whether @num is valid.
 */
static bool replay_input_decode(const uint64_t *num, InputEvent *input,
                                InputKeyEvent *key, KeyValue *value,
                                InputBtnEvent *btn, InputMoveEvent *move)
{
    input->type = num[0];
    switch (num[0]) {
    case INPUT_EVENT_KIND_KEY:
        key->key = value;
        key->down = num[3];
        value->type = num[1];
        if (num[1] == KEY_VALUE_KIND_NUMBER) {
            value->u.number.data = num[2];
        } else {
            value->u.qcode.data = num[2];
        }
        input->u.key.data = key;
        return num[1] == KEY_VALUE_KIND_NUMBER
               || (num[1] == KEY_VALUE_KIND_QCODE && num[2] < Q_KEY_CODE__MAX);
    case INPUT_EVENT_KIND_BTN:
        btn->button = num[1];
        btn->down = num[3];
        input->u.btn.data = btn;
        return num[1] < INPUT_BUTTON__MAX;
    case INPUT_EVENT_KIND_REL:
    case INPUT_EVENT_KIND_ABS:
        move->axis = num[1];
        move->value = num[2];
        if (num[0] == INPUT_EVENT_KIND_REL) {
            input->u.rel.data = move;
        } else {
            input->u.abs.data = move;
        }
        return num[1] < INPUT_AXIS__MAX;
    default:
        return false;
    }
}

static ReplayEvent *replay_input_load(const ReplayLogEvent *logged,
                                      Error **errp)
{
    InputEvent input = { };
    InputKeyEvent key = { };
    KeyValue value = { };
    InputBtnEvent btn = { };
    InputMoveEvent move = { };

    if (!replay_input_decode(logged->num, &input, &key, &value, &btn, &move)) {
        error_setg(errp, "an input event is invalid: type %" PRIu64
                   ", selector %" PRIu64 ", value %" PRId64, logged->num[0],
                   logged->num[1], (int64_t)logged->num[2]);
        return NULL;
    }
    return replay_input_new(&replay_input_ops, QAPI_CLONE(InputEvent, &input));
}

static void replay_input_run(ReplayEvent *ev)
{
    g_autofree ReplayInput *s = container_of(ev, ReplayInput, ev);

    qemu_input_event_send_impl(NULL, s->input);
    qapi_free_InputEvent(s->input);
}

const ReplayEventOps replay_input_ops = {
    .kind = REPLAY_EV_ASYNC_INPUT,
    .save = replay_input_save,
    .load = replay_input_load,
    .run = replay_input_run,
};

static void replay_input_sync_save(const ReplayEvent *ev)
{
    replay_put0(ev->ops->kind);
}

static ReplayEvent *replay_input_sync_load(const ReplayLogEvent *logged,
                                           Error **errp)
{
    return replay_input_new(&replay_input_sync_ops, NULL);
}

static void replay_input_sync_run(ReplayEvent *ev)
{
    g_free(container_of(ev, ReplayInput, ev));
    qemu_input_event_sync_impl();
}

const ReplayEventOps replay_input_sync_ops = {
    .kind = REPLAY_EV_ASYNC_INPUT_SYNC,
    .save = replay_input_sync_save,
    .load = replay_input_sync_load,
    .run = replay_input_sync_run,
};

void replay_input_event(QemuConsole *src, InputEvent *evt)
{
    switch (replay_mode) {
    case REPLAY_MODE_NONE:
        qemu_input_event_send_impl(src, evt);
        break;
    case REPLAY_MODE_RECORD:
        /* QEMU 8.1 has added touches.  No device with them can be recorded. */
        if (evt->type > INPUT_EVENT_KIND_ABS) {
            warn_report_once("the guest does not get input of the kind '%s', "
                             "which cannot be recorded",
                             InputEventKind_str(evt->type));
            break;
        }
        replay_events_queue(replay_input_new(&replay_input_ops,
                                             QAPI_CLONE(InputEvent, evt)));
        break;
    default:
        break;
    }
}

void replay_input_sync_event(void)
{
    switch (replay_mode) {
    case REPLAY_MODE_NONE:
        qemu_input_event_sync_impl();
        break;
    case REPLAY_MODE_RECORD:
        replay_events_queue(replay_input_new(&replay_input_sync_ops, NULL));
        break;
    default:
        break;
    }
}
