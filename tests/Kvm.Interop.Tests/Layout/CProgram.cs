using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Kvm.Interop.Tests.Layout;

/// <summary>A C program that prints values of expressions over the system's headers; compiled and run once.</summary>
internal sealed class CProgram
{
    private static readonly string[] Headers =
    [
        "stdio.h", "stddef.h", "errno.h", "fcntl.h", "poll.h", "sched.h", "signal.h", "termios.h", "time.h", "unistd.h",
        "sys/epoll.h", "sys/eventfd.h", "sys/ioctl.h", "sys/mman.h", "spawn.h", "linux/futex.h", "sys/prctl.h", "sys/resource.h", "sys/socket.h", "sys/un.h", "sys/stat.h", "sys/syscall.h", "sys/timerfd.h", "sys/uio.h",
        "net/if.h", "linux/if_tun.h", "linux/sockios.h", "linux/kvm.h", "asm/kvm.h", "linux/fs.h", "linux/io_uring.h", "linux/version.h",
        "sys/inotify.h", "sys/wait.h", "linux/landlock.h", "linux/userfaultfd.h", "linux/seccomp.h", "linux/filter.h", "linux/audit.h",
    ];

    private readonly StringBuilder _body = new();

    /// <summary>Prints an expression under a key.</summary>
    /// <param name="key">No spaces.</param>
    /// <param name="expression">A C expression of integer value.</param>
    /// <param name="ifDefined">A macro without which the header cannot know the expression; then the key is not printed.</param>
    public void Print(string key, string expression, string? ifDefined = null)
    {
        if (ifDefined is not null)
        {
            _body.Append(CultureInfo.InvariantCulture, $"#ifdef {ifDefined}\n");
        }

        _body.Append(CultureInfo.InvariantCulture, $"  printf(\"{key} %llu\\n\", (unsigned long long)({expression}));\n");
        if (ifDefined is not null)
        {
            _body.Append("#endif\n");
        }
    }

    /// <summary>Compiles, runs and returns what was printed. Skips the test where there is no compiler or no header.</summary>
    public Dictionary<string, ulong> Run()
    {
        string folder = Directory.CreateTempSubdirectory("kvm-layout-").FullName;
        try
        {
            string source = Path.Combine(folder, "layout.c");
            string program = Path.Combine(folder, "layout");
            string includes = string.Concat(Headers.Select(h => $"#include <{h}>\n"));
            File.WriteAllText(source, $"#define _GNU_SOURCE\n{includes}int main(void)\n{{\n{_body}  return 0;\n}}\n");
            (int exit, string output) = Start("gcc", ["-w", "-o", program, source]);
            exit.Should().Be(0, "the headers should compile, not say {0}", output);
            (exit, output) = Start(program, []);
            exit.Should().Be(0);
            return output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => line.Split(' '))
                .ToDictionary(parts => parts[0], parts => ulong.Parse(parts[1], CultureInfo.InvariantCulture));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Skips the calling test where the proof cannot be made here: no gcc, no headers, or headers older than Linux 6.1's.</summary>
    public static void SkipUnlessPossible()
    {
        Skip.IfNot(File.Exists("/usr/include/linux/kvm.h"), "linux/kvm.h is not installed (linux-libc-dev)");
        Skip.IfNot(
            Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(d => File.Exists(Path.Combine(d, "gcc"))),
            "gcc is not installed");
        string version = File.ReadAllText("/usr/include/linux/version.h");
        int code = int.Parse(version.Split('\n')[0].Split(' ')[^1], CultureInfo.InvariantCulture);
        Skip.If(code < (6 << 16 | 1 << 8), "linux/kvm.h is older than Linux 6.1's");
    }

    private static (int Exit, string Output) Start(string file, string[] arguments)
    {
        ProcessStartInfo info = new(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(info)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }
}
