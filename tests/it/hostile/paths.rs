//! What stands in the place of a store, and paths to it.

use std::{
    ffi::OsString,
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::symlink,
    },
    path::{Path, PathBuf},
    process::Command,
};

use ingrain::{Engine, Error, ErrorKind, Options};

use crate::harness::{
    dirs::temp_dir,
    files::read_image,
    nodes::{id, put},
};

use super::{assert_same, extension, full_store, options, refused};

#[test]
fn files_pipes_and_links_in_place_of_a_store_are_named_in_the_error() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    fs::write(&path, "a file").unwrap();
    for create in [true, false] {
        let error = Options::new().create(create).open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.with_causes().to_string().contains("it is not a directory"), "{error}");
        assert!(error.with_causes().to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"a file");
    // A store beneath a file.
    let error = Engine::open(path.join("s")).unwrap_err();
    assert!(error.with_causes().to_string().contains(path.to_str().unwrap()), "{error}");
    fs::remove_file(&path).unwrap();

    let before = full_store(&path);
    let image = read_image(&path);
    for name in ["LOCK", "MANIFEST", "wal", "data"] {
        let (at, aside) = (path.join(name), dir.path().join("aside"));
        fs::rename(&at, &aside).unwrap();
        if aside.is_dir() {
            fs::write(&at, "a file").unwrap();
        } else {
            fs::create_dir(&at).unwrap();
        }
        let error = options().open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.with_causes().to_string().contains(at.to_str().unwrap()), "{error}");
        if aside.is_dir() {
            fs::remove_file(&at).unwrap();
        } else {
            fs::remove_dir(&at).unwrap();
        }
        fs::rename(&aside, &at).unwrap();
    }
    assert!(read_image(&path) == image);
    assert_same(&options().open(&path).unwrap(), &before);

    // Pipes, which nobody writes to: an opening that waited would not end.
    let some = |end: &str| image.keys().find(|name| extension(name) == end).unwrap().clone();
    for name in [PathBuf::from("MANIFEST"), some("wal"), some("nodes"), some("vec")] {
        let at = path.join(&name);
        fs::remove_file(&at).unwrap();
        assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
        let error = options().open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.with_causes().to_string().contains(at.to_str().unwrap()), "{error}");
        assert!(error.with_causes().to_string().contains("it is not a regular file"), "{error}");
        fs::remove_file(&at).unwrap();
        fs::write(&at, &image[&name]).unwrap();
    }
    assert_same(&options().open(&path).unwrap(), &before);

    // Links to nowhere and to themselves.
    let links = [("nowhere", "absent/store"), ("around", "around")];
    for (name, to) in links {
        let link = dir.path().join(name);
        symlink(to, &link).unwrap();
        let error = Engine::open(&link).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.with_causes().to_string().contains(link.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(to));
    }
    assert!(!dir.path().join("absent").exists());
}

#[test]
fn a_path_may_have_any_bytes() {
    let dir = temp_dir();
    let long = OsString::from_vec(vec![b'l'; 255]);
    let names: [OsString; 9] = [
        " leading and trailing ".into(),
        "line\nfeed\tand\rreturn".into(),
        "'quotes' \"and\" \\strokes\\".into(),
        "-rf".into(),
        "*?[a-z]{b,c}$HOME".into(),
        "Größe 大きさ 🗄".into(),
        OsString::from_vec(b"\xff\xfe no \x80 text \xc3(".to_vec()),
        OsString::from_vec((1..=255).filter(|byte| *byte != b'/').collect()),
        long,
    ];
    for name in names {
        let path = dir.path().join(&name);
        let engine = Engine::open(&path).unwrap();
        engine.write(put(1, name.as_bytes())).unwrap();
        engine.checkpoint().unwrap();
        assert_eq!(Engine::open(&path).unwrap_err().kind(), ErrorKind::Locked);
        engine.backup(dir.path().join("backup")).unwrap();
        engine.close().unwrap();
        assert_eq!(engine.path(), path);
        drop(engine);
        let engine = Engine::open(&path).unwrap();
        assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), name.as_bytes());
        drop(engine);
        // An error has the path as it is, whatever its text makes of it.
        fs::write(path.join("MANIFEST"), "").unwrap();
        let Error::Corrupt { file, .. } = refused(&path, Options::new()) else { panic!() };
        assert_eq!(file, path.join("MANIFEST"));
        fs::remove_dir_all(dir.path().join("backup")).unwrap();
    }
    // What no file system takes.
    for name in [OsString::from_vec(vec![b'l'; 256]), "zero\0byte".into()] {
        let path = dir.path().join(name);
        let error = Engine::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.with_causes().to_string().contains(path.to_str().unwrap()), "{error}");
    }
    let error = Engine::open("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let deep = (0..40).fold(dir.path().to_owned(), |path, _| path.join("d".repeat(200)));
    assert_eq!(Engine::open(deep).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_copy_without_empty_directories_opens() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = options().open(&path).unwrap();
    engine.write(put(0, "in the log")).unwrap();
    engine.close().unwrap();
    fs::remove_dir(path.join("data")).unwrap();
    // Repair reads it as it is.
    let report = options().repair(&path, dir.path().join("r"), &mut |_, _| {}).unwrap();
    assert!(report.is_complete() && !path.join("data").exists());
    let engine = options().open(&path).unwrap();
    assert!(engine.verify().unwrap().is_sound());
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    assert!(options().open(&path).unwrap().snapshot().contains(id(0)).unwrap());
    // With files missing, it is damage.
    fs::remove_dir_all(path.join("data")).unwrap();
    assert_eq!(options().open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!path.join("data").exists());
}

#[test]
fn a_store_is_locked_by_whatever_path_it_is_opened() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    fs::create_dir(dir.path().join("below")).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    symlink(dir.path(), dir.path().join("below/up")).unwrap();
    let before = full_store(&path);
    // From the working directory up to the root, and down again.
    let up: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
    let paths = [
        link.clone(),
        dir.path().join("below/../s"),
        dir.path().join("below/up/s"),
        dir.path().join("./s/."),
        PathBuf::from(format!("{}//", path.display())),
        up.join(path.strip_prefix("/").unwrap()),
    ];
    for (n, other) in (0..).zip(&paths) {
        let engine = options().open(other).unwrap();
        assert_eq!(options().open(&path).unwrap_err().kind(), ErrorKind::Locked);
        assert!(engine.path().is_absolute());
        if n == 0 {
            assert_same(&engine, &before);
        }
        engine.write(put(n, "changed")).unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
    }
    let engine = options().open(&path).unwrap();
    for n in 0..paths.len() as u64 {
        assert_eq!(engine.snapshot().get(id(n)).unwrap().unwrap().content(), b"changed");
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "it was not replaced");
    // Directories of a store may be elsewhere.
    engine.close().unwrap();
    drop(engine);
    for name in ["wal", "data"] {
        let elsewhere = dir.path().join(format!("elsewhere {name}"));
        fs::rename(path.join(name), &elsewhere).unwrap();
        symlink(&elsewhere, path.join(name)).unwrap();
    }
    let engine = options().open(&path).unwrap();
    engine.write(put(0, "elsewhere")).unwrap();
    engine.checkpoint().unwrap();
    drop(engine);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().get(id(0)).unwrap().unwrap().content(), b"elsewhere");
    assert!(engine.verify().unwrap().is_sound());
}
