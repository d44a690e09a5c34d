//! Signals and sets of them: names, numbers and the mask. Rule S-1.

use std::collections::BTreeSet;

use linux_event_core::signal::{Signal, SignalSet, UnknownSignal};
use proptest::prelude::*;

fn all() -> impl Iterator<Item = Signal> {
    (1..=64).map(|number| Signal::from_raw(number).unwrap())
}

#[test]
fn s1_numbers_outside_1_to_64_are_no_signals() {
    for number in [i32::MIN, -1, 0, 65, 256, 257, i32::MAX] {
        assert_eq!(Signal::from_raw(number), None, "{number}");
    }
    assert!(all().map(Signal::raw).eq(1..=64));
    assert_eq!(size_of::<Option<Signal>>(), 1);
}

#[test]
fn s1_numbers_are_the_kernels() {
    use linux_raw_sys::general as kernel;
    for (signal, number) in [
        (Signal::HUP, kernel::SIGHUP),
        (Signal::INT, kernel::SIGINT),
        (Signal::QUIT, kernel::SIGQUIT),
        (Signal::ILL, kernel::SIGILL),
        (Signal::TRAP, kernel::SIGTRAP),
        (Signal::ABRT, kernel::SIGABRT),
        (Signal::BUS, kernel::SIGBUS),
        (Signal::FPE, kernel::SIGFPE),
        (Signal::KILL, kernel::SIGKILL),
        (Signal::USR1, kernel::SIGUSR1),
        (Signal::SEGV, kernel::SIGSEGV),
        (Signal::USR2, kernel::SIGUSR2),
        (Signal::PIPE, kernel::SIGPIPE),
        (Signal::ALRM, kernel::SIGALRM),
        (Signal::TERM, kernel::SIGTERM),
        (Signal::STKFLT, kernel::SIGSTKFLT),
        (Signal::CHLD, kernel::SIGCHLD),
        (Signal::CONT, kernel::SIGCONT),
        (Signal::STOP, kernel::SIGSTOP),
        (Signal::TSTP, kernel::SIGTSTP),
        (Signal::TTIN, kernel::SIGTTIN),
        (Signal::TTOU, kernel::SIGTTOU),
        (Signal::URG, kernel::SIGURG),
        (Signal::XCPU, kernel::SIGXCPU),
        (Signal::XFSZ, kernel::SIGXFSZ),
        (Signal::VTALRM, kernel::SIGVTALRM),
        (Signal::PROF, kernel::SIGPROF),
        (Signal::WINCH, kernel::SIGWINCH),
        (Signal::IO, kernel::SIGIO),
        (Signal::PWR, kernel::SIGPWR),
        (Signal::SYS, kernel::SIGSYS),
    ] {
        assert_eq!(signal.raw() as u32, number, "{signal}");
    }
}

#[test]
fn s1_names_come_back_as_signals() {
    for signal in all() {
        let name = signal.to_string();
        let forms = [
            name.clone(),
            name.to_lowercase(),
            format!("{}", signal.raw()),
        ];
        for form in forms {
            assert_eq!(form.parse(), Ok(signal), "{form}");
        }
        if signal.raw() != 32 && signal.raw() != 33 {
            assert_eq!(Signal::from_name(&format!("SIG{name}")), Some(signal));
            assert_eq!(Signal::from_name(&format!("sig{name}")), Some(signal));
        }
    }
}

#[test]
fn s1_real_time_signals_count_from_both_ends() {
    for (name, number) in [
        ("RTMIN", 34),
        ("SIGRTMIN", 34),
        ("rtmin+3", 37),
        ("RTMIN+30", 64),
        ("RTMAX", 64),
        ("SigRtMax-30", 34),
        ("POLL", 29),
        ("sigcld", 17),
        ("IOT", 6),
        ("015", 15),
    ] {
        assert_eq!(
            Signal::from_name(name).map(Signal::raw),
            Some(number),
            "{name}"
        );
    }
}

#[test]
fn s1_what_names_no_signal_is_refused() {
    for name in [
        "",
        "SIG",
        "0",
        "65",
        "-1",
        "+1",
        "1000",
        "99999999999",
        "INT ",
        " INT",
        "SIG2",
        "SIGSIGINT",
        "INTER",
        "RTMIN+31",
        "RTMIN-1",
        "RTMIN+",
        "RTMIN++1",
        "RTMIN3",
        "RTMAX+1",
        "RTMAX-31",
        "RT",
        "SÏGINT",
        "ŚIG",
        "日本",
    ] {
        assert_eq!(name.parse::<Signal>(), Err(UnknownSignal), "{name:?}");
    }
}

#[test]
fn s1_kill_and_stop_are_the_ones_that_cannot_be_caught() {
    let refused: Vec<Signal> = all().filter(|signal| !signal.can_be_caught()).collect();
    assert_eq!(refused, [Signal::KILL, Signal::STOP]);
}

#[test]
fn s1_a_mask_has_the_kernels_bits() {
    assert_eq!(SignalSet::from(Signal::HUP).bits(), 1);
    assert_eq!(SignalSet::from(Signal::RTMAX).bits(), 1 << 63);
    assert_eq!(all().collect::<SignalSet>(), SignalSet::ALL);
    assert_eq!(SignalSet::empty().iter().next(), None);
    let set = SignalSet::from_bits(0b10 | 1 << 63);
    assert_eq!(format!("{set:?}"), "{INT, RTMIN+30}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn s1_a_set_behaves_like_an_ordered_set(
        steps in proptest::collection::vec((any::<bool>(), 1..=64), 0..100),
        other in any::<u64>(),
    ) {
        let (mut set, mut model) = (SignalSet::EMPTY, BTreeSet::new());
        for (insert, number) in steps {
            let signal = Signal::from_raw(number).unwrap();
            prop_assert_eq!(set.contains(signal), model.contains(&signal));
            if insert {
                prop_assert_eq!(set.insert(signal), model.insert(signal));
            } else {
                prop_assert_eq!(set.remove(signal), model.remove(&signal));
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
        }
        prop_assert!(set.iter().eq(model.iter().copied()), "numeric order");
        prop_assert_eq!(set.iter().len(), model.len());
        let other = SignalSet::from_bits(other);
        for signal in all() {
            let (here, there) = (set.contains(signal), other.contains(signal));
            prop_assert_eq!(set.union(other).contains(signal), here || there);
            prop_assert_eq!(set.difference(other).contains(signal), here && !there);
        }
    }
}
