//! The state against a model of a few lines: whatever happens in whatever order, what is told and what is sent is in order,
//! once, and ends once.

use proptest::prelude::*;

use super::*;
use linux_event_core::codec::Line;
use linux_event_core::errno::Errno;

const LOW: usize = 20;
const HIGH: usize = 50;
const NOW: Instant = Instant::ZERO;

/// What happens to a stream.
#[derive(Clone, Debug)]
enum Action {
    Receive(Vec<u8>),
    Eof,
    Reset,
    /// The socket takes so many bytes.
    Send(usize),
    /// An operation takes what there is, and so many bytes of it are sent when it comes back.
    Lend,
    Restore(usize),
    /// The socket takes nothing more.
    Unsendable,
    Write(Vec<u8>),
    WriteMessage(Vec<u8>),
    Pause,
    Resume,
    End,
    CloseAfterDrain,
    Detach,
    Close,
    /// Tell so much at most: as a loop that is stopped.
    Tell(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let text = || prop::collection::vec(prop_oneof![Just(b'\n'), b'a'..=b'e'], 0..40);
    prop_oneof![
        8 => text().prop_map(Action::Receive),
        1 => Just(Action::Eof),
        1 => Just(Action::Reset),
        6 => (0usize..60).prop_map(Action::Send),
        3 => Just(Action::Lend),
        3 => (0usize..60).prop_map(Action::Restore),
        1 => Just(Action::Unsendable),
        5 => text().prop_map(Action::Write),
        3 => text().prop_map(Action::WriteMessage),
        2 => Just(Action::Pause),
        3 => Just(Action::Resume),
        1 => Just(Action::End),
        1 => Just(Action::CloseAfterDrain),
        1 => Just(Action::Detach),
        1 => Just(Action::Close),
        4 => (0usize..3).prop_map(Action::Tell),
    ]
}

/// What the program and the peer have seen, and what they should have.
#[derive(Default)]
struct World {
    received: Vec<u8>,
    told: Vec<u8>,
    written: Vec<u8>,
    sent: Vec<u8>,
    has_failed: bool,
    is_closed: bool,
    is_detached: bool,
    has_eof: bool,
    lent: Option<Vec<u8>>,
    /// The end has come, told or not.
    has_come_to_end: bool,
    /// The watermark was passed and not told of yet.
    is_owed_drain: bool,
}

impl World {
    /// What was told is what came, in order, each once; the last line needs no end.
    fn check_told(&mut self) {
        if self.told.len() == self.received.len() + 1 && self.has_come_to_end {
            assert_eq!(self.told.pop(), Some(b'\n'));
        }
        assert!(self.received.starts_with(&self.told), "in order, each once");
    }

    /// Tells at most `limit` steps of `chunk`.
    fn tell(&mut self, state: &mut State, chunk: &[u8], limit: usize, is_framed: bool) {
        let mut window = state.open_window(chunk, NOW, &mut Spares::default());
        for _ in 0..limit {
            let was_held = state.is_paused();
            let Some(step) = state.next(&mut window) else {
                break;
            };
            assert!(!self.is_closed, "nothing comes after the close");
            match step {
                Step::Message(range) => {
                    assert!(!was_held && !self.has_eof && !self.has_failed);
                    self.told.extend_from_slice(window.message(range));
                    if is_framed {
                        self.told.push(b'\n');
                    }
                }
                Step::Drained => {
                    assert!(std::mem::take(&mut self.is_owed_drain) && !state.is_blocked());
                }
                Step::Eof => {
                    assert!(
                        !was_held && !std::mem::replace(&mut self.has_eof, true),
                        "once"
                    );
                }
                Step::Failed(error) => {
                    assert!(!std::mem::replace(&mut self.has_failed, true), "once");
                    let is_reset = matches!(error, StreamError::Io(Errno::ECONNRESET));
                    if is_reset && !state.is_ending() {
                        let untold = &self.received[self.told.len()..];
                        let is_message = if is_framed {
                            untold.contains(&b'\n')
                        } else {
                            !untold.is_empty()
                        };
                        assert!(!is_message, "what came before it is told first");
                    }
                }
                Step::Closed => self.is_closed = true,
                Step::Detached => {
                    assert_eq!(state.pending(), 0);
                    self.is_detached = true;
                    break;
                }
            }
        }
        state.keep(window, &mut Spares::default());
        self.check_told();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn everything_is_told_and_sent_in_order_and_ends_once(
        actions in prop::collection::vec(action(), 1..60),
        is_framed in any::<bool>(),
        throttled in any::<bool>(),
    ) {
        let limits = Limits { high: HIGH, low: LOW, throttled, ..Limits::default() };
        let framing = is_framed.then(|| Box::new(Line::new(1000).take_last()) as Box<dyn Codec>);
        let mut state = State::new(framing, limits, NOW);
        let mut spares = Spares::default();
        let mut world = World::default();
        let (mut came_eof, mut came_reset) = (false, false);
        for action in actions {
            if world.is_closed || world.is_detached {
                break;
            }
            match action {
                Action::Receive(bytes) if state.wants_read() && !came_eof && !came_reset => {
                    world.received.extend_from_slice(&bytes);
                    world.tell(&mut state, &bytes, 100, is_framed);
                }
                Action::Eof if state.wants_read() && !came_reset => {
                    (came_eof, world.has_come_to_end) = (true, true);
                    state.received_eof(NOW);
                }
                Action::Reset if state.wants_read() && !came_eof => {
                    came_reset = true;
                    state.failed_to_read(StreamError::Io(Errno::ECONNRESET));
                }
                Action::Send(room) => {
                    let count = room.min(state.front().len());
                    world.sent.extend_from_slice(&state.front()[..count]);
                    if count > 0 {
                        state.sent(count, NOW, &mut spares);
                    }
                }
                Action::Lend if world.lent.is_none() => world.lent = state.lend(),
                Action::Restore(room) => {
                    if let Some(segment) = world.lent.take() {
                        let count = room.min(segment.len());
                        world.sent.extend_from_slice(&segment[..count]);
                        state.restore(segment, count, NOW, &mut spares);
                    }
                }
                Action::Unsendable if !state.front().is_empty() => {
                    state.failed_to_send(StreamError::Io(Errno::EPIPE));
                    prop_assert!(state.front().is_empty());
                }
                Action::Write(bytes) => {
                    if let Ok(flow) = state.write(&bytes, NOW, &mut spares) {
                        world.written.extend_from_slice(&bytes);
                        prop_assert_eq!(flow == Flow::Blocked, state.is_blocked());
                    }
                }
                Action::WriteMessage(bytes) => {
                    let written = state.write_message(&bytes, NOW, &mut spares);
                    if written.is_ok() {
                        world.written.extend_from_slice(&bytes);
                        if is_framed {
                            world.written.push(b'\n');
                        }
                    }
                }
                Action::Pause => state.pause(),
                Action::Resume => state.resume(NOW),
                Action::End => state.end(&mut spares),
                Action::CloseAfterDrain => state.close_after_drain(&mut spares),
                Action::Detach => drop(state.detach()),
                Action::Close => state.close(),
                Action::Tell(limit) => {
                    state.begin_turn();
                    world.tell(&mut state, &[], limit, is_framed);
                }
                _ => {}
            }
            world.is_owed_drain |= state.is_blocked();
            prop_assert!(state.pending() <= HIGH || state.is_blocked());
            prop_assert!(state.pending() > LOW || !state.is_blocked());
            if state.wants_shutdown() {
                prop_assert_eq!(state.pending(), 0);
                state.was_shut_down();
            }
            prop_assert!(world.written.starts_with(&world.sent), "in order, each once");
            prop_assert_eq!(
                world.written.len() - world.sent.len(),
                state.pending(),
                "what is written is sent or waits"
            );
        }

        // The end: everything that wants to go goes, and everything that was held back is told.
        if world.is_detached {
            let mut all = world.told.clone();
            all.extend(state.take_input());
            prop_assert_eq!(all, world.received, "what was not told is handed over");
            return Ok(());
        }
        if let Some(segment) = world.lent.take() {
            world.sent.extend_from_slice(&segment);
            let count = segment.len();
            state.restore(segment, count, NOW, &mut spares);
        }
        let was_dead = world.is_closed;
        let is_dropped = !was_dead && !state.has_failure() && state.is_closing_now();
        let was_held = state.is_paused() || state.is_blocked() || state.is_ending();
        state.resume(NOW);
        for _ in 0..100 {
            state.begin_turn();
            let count = state.front().len();
            if count > 0 {
                world.sent.extend_from_slice(state.front());
                state.sent(count, NOW, &mut spares);
            }
            if state.wants_shutdown() {
                state.was_shut_down();
            }
            world.tell(&mut state, &[], 100, is_framed);
            if world.is_detached {
                return Ok(());
            }
        }
        if !world.has_failed && !world.is_closed && !is_dropped && !was_held {
            let tail = world.received.len() - world.told.len();
            prop_assert_eq!(tail, state.kept());
            if !is_framed {
                prop_assert_eq!(tail, 0);
            }
            prop_assert!(!world.received[world.told.len()..].contains(&b'\n') || !is_framed);
            prop_assert_eq!(&world.sent, &world.written);
        }
        prop_assert!(!state.has_more(), "nothing is left to tell");
        state.close();
        world.tell(&mut state, &[], 100, is_framed);
        prop_assert!(world.is_closed, "the close is told");
        world.tell(&mut state, &[], 100, is_framed);
    }
}

#[test]
fn m3_what_is_told_one_message_at_a_time_is_moved_a_few_times_at_most() {
    let framing = Some(Box::new(Line::new(10)) as Box<dyn Codec>);
    let mut state = State::new(framing, Limits::default(), NOW);
    let lines = b"\n".repeat(10_000);
    let (mut chunk, mut told, mut moved) = (&lines[..], 0, 0);
    while told < lines.len() {
        state.resume(NOW);
        let mut window = state.open_window(chunk, NOW, &mut Spares::default());
        chunk = &[];
        assert!(matches!(state.next(&mut window), Some(Step::Message(_))));
        told += 1;
        state.pause();
        assert!(state.next(&mut window).is_none());
        state.keep(window, &mut Spares::default());
        assert_eq!(state.kept(), lines.len() - told);
        if state.input_start == 0 {
            moved += state.input.len();
        }
    }
    assert!(moved <= 2 * lines.len(), "{moved} bytes were moved");
}
