using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Kvm.Tests.Support;

namespace Kvm.Boot.Tests;

/// <summary>Linux guests of several <c>kvmsharp run</c> processes on one switch.</summary>
public sealed class SwitchTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(8);

    private readonly string _runtime = Directory.CreateTempSubdirectory("kvmsharp-switch").FullName;
    private readonly List<Guest> _guests = [];

    public void Dispose()
    {
        foreach (var guest in _guests)
            guest.Dispose();
        Directory.Delete(_runtime, recursive: true);
    }

    /// <summary>A guest in a process of its own.</summary>
    private sealed class Guest : IDisposable
    {
        private readonly Process _process;
        private readonly StringBuilder _console = new();
        private readonly object _said = new();

        public Guest(string runtime, string program, int number, string settings, string append)
        {
            string[] arguments =
            [
                "run", GuestFiles.Require("small/vmlinux"), "--initrd", GuestFiles.Require("initramfs/initramfs.cpio"), "--engine", "soft", "--memory", "128M",
                "--net", $"switch=lan{settings}", "--append", $"kvmsharp.run=net ip=10.9.0.{number}:::255.255.255.0::eth0:off {append}",
            ];
            var start = new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
            start.Environment["KVMSHARP_RUNTIME"] = runtime;
            _process = Process.Start(start)!;
            _process.OutputDataReceived += (_, line) => Say(line.Data);
            _process.ErrorDataReceived += (_, line) => Say(line.Data);
            _process.BeginOutputReadLine();
            _process.BeginErrorReadLine();
        }

        public string Console
        {
            get
            {
                lock (_said)
                    return _console.ToString();
            }
        }

        public void Type(string line)
        {
            _process.StandardInput.Write(line + "\n");
            _process.StandardInput.Flush();
        }

        /// <summary>Waits until it has printed a text so many times.</summary>
        public void Await(string text, int times = 1)
        {
            var clock = Stopwatch.StartNew();
            lock (_said)
            {
                while (_console.ToString().Split(text).Length - 1 < times)
                {
                    (clock.Elapsed < s_limit && !_process.HasExited).Should().BeTrue($"'{text}' is to come; there is: {_console}");
                    Monitor.Wait(_said, 1000);
                }
            }
        }

        public void Kill()
        {
            _process.Kill();
            _process.WaitForExit();
        }

        public void Dispose()
        {
            if (!_process.HasExited)
                Kill();
            _process.Dispose();
        }

        private void Say(string? line)
        {
            lock (_said)
            {
                _console.AppendLine(line);
                Monitor.PulseAll(_said);
            }
        }
    }

    private Guest Start(int number, string settings, string append)
    {
        var guest = new Guest(_runtime, RequireProgram(), number, settings, append);
        _guests.Add(guest);
        return guest;
    }

    private static string RequireProgram()
    {
        string program = GuestFiles.RequireSource("artifacts/kvmsharp/kvmsharp");
        Skip.IfNot(File.Exists(program), "the program was not published: scripts/build");
        return program;
    }

    /// <summary>The first guest's process serves the switch; the others go on when it is killed.</summary>
    [SkippableFact]
    public void Guests_of_several_processes_fetch_from_each_other_an_isolated_one_does_not_and_they_go_on_when_the_switch_s_server_is_killed()
    {
        GuestFiles.Require("small/vmlinux");
        string hash = Convert.ToHexStringLower(SHA256.HashData("what-the-first-has\n"u8));
        var first = Start(1, "", "kvmsharp.make=what-the-first-has");
        first.Await("GUEST-SERVES");
        var second = Start(2, "", "kvmsharp.fetch=http://10.9.0.1/file");
        var isolated = Start(3, ",isolated", "kvmsharp.refused=http://10.9.0.1/file");
        second.Await($"GUEST-FETCHED {hash}");
        second.Await("GUEST-SERVES");
        isolated.Await("GUEST-REFUSED http://10.9.0.1/file");
        isolated.Await("GUEST-SERVES");
        second.Type("refused http://10.9.0.3/file");
        second.Await("GUEST-REFUSED http://10.9.0.3/file");

        var fourth = Start(4, "", "kvmsharp.fetch=http://10.9.0.2/file");
        fourth.Await($"GUEST-FETCHED {hash}");
        fourth.Await("GUEST-SERVES");
        first.Kill();
        fourth.Type("fetch http://10.9.0.2/file");
        fourth.Await($"GUEST-FETCHED {hash}", times: 2);
        second.Type("fetch http://10.9.0.4/file");
        second.Await($"GUEST-FETCHED {hash}", times: 2);
        isolated.Type("refused http://10.9.0.2/file");
        isolated.Await("GUEST-REFUSED http://10.9.0.2/file");
        string.Concat(_guests.Select(g => g.Console)).Should().NotContain("GUEST-FAILED").And.Contain("the switch lan is served by this process now");
    }
}
