//! Files with names.

use super::*;

const WRITE: u32 = 1;
const CREATE: u32 = 0o100;
const EXCLUSIVE: u32 = 0o200;

fn path(text: &str) -> Buffer {
    Buffer::from([text.as_bytes(), &[0]].concat())
}

fn open(proactor: &mut Proactors, text: &str, flags: u32) -> Result<File, i32> {
    let directory = linux_event_core::proactor::Target::CURRENT_DIRECTORY;
    submit(proactor, op::open(directory, path(text)).flags(flags), 1);
    let completion = one(proactor);
    match completion.outcome() {
        Ok(_) => Ok(proactor
            .adopt(completion.into_descriptor().unwrap())
            .unwrap()),
        Err(errno) => {
            let back = completion.into_buffer();
            assert_eq!(back, Some(path(text)), "the path comes back");
            Err(failed(errno))
        }
    }
}

#[test]
fn p1_files_are_opened_read_and_written_where_one_says() {
    let mut proactor = proactor();
    proactor
        .backend_mut()
        .write_file("/etc/hosts", "localhost")
        .unwrap();
    let file = open(&mut proactor, "etc//hosts", 2).unwrap();
    submit(&mut proactor, op::read(file, room(5)).limit(5), 1);
    assert_eq!(buffer(&mut proactor), (5, Buffer::from("local")));
    submit(&mut proactor, op::read(file, room(64)), 1);
    assert_eq!(buffer(&mut proactor), (4, Buffer::from("host")));
    submit(&mut proactor, op::read(file, room(64)).at(5), 1);
    assert_eq!(buffer(&mut proactor), (4, Buffer::from("host")));
    submit(&mut proactor, op::write(file, Buffer::from("H")).at(5), 1);
    submit(&mut proactor, op::write(file, Buffer::from("!")), 2);
    submit(&mut proactor, op::fsync(file).data_only(), 3);
    assert_eq!(
        turn(&mut proactor),
        [(1, 1, false), (2, 1, false), (3, 0, false)]
    );
    let content = proactor.backend().file_content("/etc/hosts");
    assert_eq!(content, Some(&b"localHost!"[..]));
    submit(&mut proactor, op::read(file, room(1)), 4);
    assert_eq!(turn(&mut proactor), [(4, 0, false)], "the end");
    proactor.backend_mut().unlink("/etc/hosts").unwrap();
    submit(&mut proactor, op::read(file, room(5)).at(0).limit(5), 5);
    assert_eq!(turn(&mut proactor), [(5, 5, false)], "it is open still");
}

#[test]
fn p1_what_is_not_there_is_told() {
    let mut proactor = proactor();
    proactor.backend_mut().write_file("/a/b", "").unwrap();
    let mut errno = |text, flags| open(&mut proactor, text, flags).unwrap_err();
    assert_eq!(errno("/nowhere", 0), failed(Errno::ENOENT));
    assert_eq!(errno("/a/c/d", CREATE | WRITE), failed(Errno::ENOENT));
    assert_eq!(errno("/a/b/c", 0), failed(Errno::ENOTDIR));
    assert_eq!(errno("/a/b", CREATE | EXCLUSIVE), failed(Errno::EEXIST));
    assert_eq!(errno("/a", WRITE), failed(Errno::EISDIR));
    assert_eq!(errno("", 0), failed(Errno::ENOENT));
    let read_only = open(&mut proactor, "/a/b", 0).unwrap();
    submit(&mut proactor, op::write(read_only, Buffer::from("x")), 1);
    assert_eq!(turn(&mut proactor), [(1, failed(Errno::EBADF), false)]);
    let directory = open(&mut proactor, "/a", 0).unwrap();
    submit(&mut proactor, op::open(directory, path("b")), 2);
    assert!(one(&mut proactor).outcome().is_ok());
    submit(&mut proactor, op::open(read_only, path("b")), 3);
    assert_eq!(turn(&mut proactor), [(3, failed(Errno::ENOTDIR), false)]);
    let no_zero = proactor.submit(op::open(directory, Buffer::from("b")), 4);
    let refused = no_zero.unwrap_err();
    assert_eq!(refused.buffer, Some(Buffer::from("b")));
    assert!(matches!(refused.error, Error::Invalid(_)));
}

#[test]
fn p1_stat_tells_what_a_file_is_like() {
    let mut proactor = proactor();
    proactor.backend_mut().advance(MILLI);
    proactor
        .backend_mut()
        .write_file("/f", vec![0; 5000])
        .unwrap();
    let root = proactor.backend_mut().open("/", 0).unwrap();
    let root = adopt(&mut proactor, root);
    let asked = submit(&mut proactor, op::statx(root, path("f")), 1);
    assert_eq!(buffer(&mut proactor), (0, path("f")));
    let stat = proactor.stat(asked).unwrap();
    assert_eq!((stat.size, stat.blocks, stat.mode), (5000, 16, 0o100_644));
    assert_eq!(stat.modified, (1, 1_000_000));
    let asked = submit(&mut proactor, op::statx(root, path("")).flags(0x1000), 2);
    assert_eq!(turn(&mut proactor), [(2, 0, false)]);
    assert_eq!(proactor.stat(asked).unwrap().mode & 0o170_000, 0o040_000);
    submit(&mut proactor, op::statx(root, path("g")), 3);
    assert_eq!(turn(&mut proactor), [(3, failed(Errno::ENOENT), false)]);
}
