use std::fs;
use std::path::Path;
use std::time::Instant;

use testbed::wait_until;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Runs lines as the slow path does, on one thread.
fn run_now(line: &str, limits: &Limits) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(line, limits))
}

fn run_plainly(line: &str) -> Result<(), CommandError> {
    run_now(line, &Limits { time: LONG, ..Limits::default() })
}

fn short() -> Limits {
    Limits { time: Duration::from_millis(300), grace: Duration::from_millis(500), is_left_behind: false }
}

fn message(line: &str) -> String {
    run_plainly(line).unwrap_err().to_string()
}

fn number_in(path: &Path) -> i32 {
    wait_until(LONG, "the number of a process", || fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Whether a process is gone; one that nobody has waited for yet counts as gone.
fn is_gone(id: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[test]
fn all_macros_are_replaced_wherever_they_stand() {
    let subject = Subject { address: "10.0.0.1".parse().unwrap(), port: 79, mode: "atcp" };
    for (template, line) in [
        ("/sbin/route add -host $TARGET$ reject", "/sbin/route add -host 10.0.0.1 reject"),
        ("x $TARGET$,$TARGET$:$PORT$'$MODE$'", "x 10.0.0.1,10.0.0.1:79'atcp'"),
        ("$target$ $TARGET $HOME$", "$target$ $TARGET $HOME$"),
        ("$$TARGET$$", "$10.0.0.1$"),
    ] {
        assert_eq!(expand(template, &subject), line);
    }
    let subject = Subject { address: "fd77::1".parse().unwrap(), ..subject };
    assert_eq!(expand("x $TARGET$", &subject), "x fd77::1");
}

#[test]
fn a_line_runs_in_a_plain_place() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("told");
    let name = file.display();
    // Of the group of a process: proc_pid_stat(5), field 5.
    run_plainly(&format!(
        "read id name state parent group rest </proc/$$/stat; \
         {{ pwd; umask; env | grep -v ^_= | sort; [ $group = $$ ] && echo alone; cat; echo $# $0; }} >{name}"
    ))
    .unwrap();
    let told = fs::read_to_string(&file).unwrap();
    let expected =
        format!("/\n0077\nHOME=/root\nLANG=C\nPATH={PATH}\nPWD=/\nSHELL=/bin/sh\nalone\n0 /bin/sh\n");
    assert_eq!(told.replace("SHLVL=0\n", "").replace("OLDPWD=/\n", ""), expected);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn whatever_a_shell_understands_is_understood() {
    for line in [
        "true",
        "",
        "# nothing",
        "false || true",
        "echo a | grep -q a && test -d /",
        "if :; then :; fi",
        "(exit 0)",
    ] {
        run_plainly(line).unwrap();
    }
}

#[test]
fn a_status_is_looked_at_and_the_last_words_are_told() {
    let error = run_plainly("echo first >&2; echo 'no \u{1b}[2J chain' >&2; echo >&2; exit 3").unwrap_err();
    assert!(matches!(error.end, End::Status(3)));
    assert_eq!(error.said.as_deref(), Some("no \u{1b}[2J chain"));
    let message = error.to_string();
    assert!(
        message.ends_with(
            "ended with status 3: no \\u{1b}[2J chain; run it by hand as root to see what it lacks"
        ),
        "{message}"
    );
    assert!(message.starts_with("the command \"echo first >&2; echo 'no \\u{1b}[2J"), "{message}");
    // Standard output only where there is nothing else.
    assert_eq!(run_plainly("echo out; exit 1").unwrap_err().said.as_deref(), Some("out"));
    assert_eq!(run_plainly("echo err >&2; echo out; exit 1").unwrap_err().said.as_deref(), Some("err"));
    assert!(run_plainly("exit 1").unwrap_err().said.is_none());
}

#[test]
fn much_output_is_read_and_only_its_end_kept() {
    let error = run_plainly("yes | head -c 3000000 >&2; printf '%5000s' x >&2; exit 1").unwrap_err();
    let said = error.said.as_ref().unwrap();
    assert!(said.len() <= 4096 && said.ends_with('x'), "{}", said.len());
    assert!(error.to_string().len() < 1000);
}

#[test]
fn a_program_that_is_elsewhere_is_named() {
    let said = message("/usr/local/nowhere/env true");
    assert!(said.contains("ended with status 127: "), "{said}");
    assert!(
        said.ends_with("; /usr/local/nowhere/env does not exist, but there is /usr/bin/env: write that"),
        "{said}"
    );
    let said = message("no-such-program-1 10.0.0.1");
    assert!(
        said.ends_with("no-such-program-1 does not exist on this host: install it, or write another command"),
        "{said}"
    );
    let said = message("/etc/passwd");
    assert!(said.contains("ended with status 126: "), "{said}");
    assert!(said.contains("; /etc/passwd is no program that can be run, but there is "), "{said}");
}

#[test]
fn a_signal_is_told() {
    let said = message("kill -9 $$");
    assert!(said.contains("was ended by a signal: 9 (SIGKILL)"), "{said}");
    let said = message("sh -c 'kill -9 $$'; exit $?");
    assert!(
        said.contains("ended with status 137") && said.contains("a program in it was ended by a signal: 9"),
        "{said}"
    );
}

#[test]
fn a_line_that_cannot_be_run_is_told() {
    assert!(message("tr\0ue").ends_with("take the NUL byte out of it"));
    let longest = format!("true {}", "x".repeat(LONGEST_LINE - 5));
    run_plainly(&longest).unwrap();
    let error = run_plainly(&format!("{longest}x")).unwrap_err();
    assert!(matches!(error.end, End::TooLong));
    assert!(error.to_string().contains("longer than 64 KiB"));
}

#[test]
fn a_hanging_command_is_ended_with_all_its_children() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("id");
    let start = Instant::now();
    let error =
        run_now(&format!("sleep 1000 & echo $! >{}; echo waiting >&2; wait", file.display()), &short());
    let error = error.unwrap_err();
    assert!(matches!(error.end, End::TimedOut { is_gone: true, .. }), "{error}");
    assert!(error.to_string().contains("as it still ran after 300ms: waiting; "), "{error}");
    // All went at the first word, so the time to make them was not needed.
    assert!(start.elapsed() < LONG);
    let id = number_in(&file);
    wait_until(LONG, "the end of the child", || is_gone(id).then_some(()));
}

#[test]
fn a_command_that_will_not_end_is_made_to() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("id");
    let line = format!("trap '' TERM; echo $$ >{}; while :; do sleep 1000; done", file.display());
    let error = run_now(&line, &short()).unwrap_err();
    assert!(matches!(error.end, End::TimedOut { is_gone: true, .. }), "{error}");
    assert!(is_gone(number_in(&file)));
    // The shell goes at once, a child of it does not.
    let line = format!(
        "(trap '' TERM; sh -c 'echo $PPID' >{}; while :; do sleep 0.05; done) & wait",
        file.display()
    );
    fs::remove_file(&file).unwrap();
    run_now(&line, &short()).unwrap_err();
    let id = number_in(&file);
    wait_until(LONG, "the end of the child", || is_gone(id).then_some(()));
}

#[test]
fn what_is_left_in_the_background_hangs_nobody_and_lives_on() {
    let place = tempfile::tempdir().unwrap();
    let go = place.path().join("go");
    let done = place.path().join("done");
    let line = format!(
        "(while [ ! -e {} ]; do sleep 0.02; done; echo some words; echo more >&2; echo yes >{}) & echo started",
        go.display(),
        done.display()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let start = Instant::now();
        run(&line, &Limits::default()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(!done.exists());
        fs::write(&go, "").unwrap();
        // Its words go somewhere, so it is not killed by SIGPIPE before its work is done.
        timeout(LONG, async {
            while !fs::read_to_string(&done).is_ok_and(|text| text == "yes\n") {
                sleep(PAUSE).await;
            }
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_command_that_nobody_waits_for_any_more_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("id");
    let line = format!("echo $$ >{}; exec sleep 1000", file.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let id = runtime.block_on(async {
        let limits = Limits::default();
        tokio::select! {
            result = run(&line, &limits) => panic!("{result:?}"),
            id = async {
                loop {
                    if let Some(id) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
                        break id;
                    }
                    sleep(PAUSE).await;
                }
            } => id,
        }
    });
    wait_until(LONG, "the end of the command", || is_gone(id).then_some(()));
}

#[test]
fn many_run_side_by_side() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("told");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..20 {
            let lines: Vec<_> =
                (0..10).map(|number| format!("echo {round}.{number} >>{}", file.display())).collect();
            let limits = Limits::default();
            let mut running = tokio::task::JoinSet::new();
            for line in lines {
                running.spawn(async move { run(&line, &limits).await });
            }
            while let Some(result) = running.join_next().await {
                result.unwrap().unwrap();
            }
        }
    });
    let told = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = told.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 200);
}

#[tokio::test]
async fn a_program_gets_its_words_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("words");
    let script = format!("printf '%s|' \"$@\" > {}; umask >> {0}", file.display());
    let words = ["/bin/sh", "-c", &script, "name", "a b", "$(id)", "; reboot", ""].map(str::to_owned);
    Invocation::Program(words.to_vec()).run(&Limits::default()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a b|$(id)|; reboot||0077\n");
    let missing = Invocation::Program(vec!["/no/such/program".to_owned()]);
    let error = missing.run(&Limits::default()).await.unwrap_err();
    assert!(matches!(error.end, End::NotFound { .. }), "{error}");
}
