using System.Diagnostics;
using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Debugging.Gdb;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>The real gdb in batch mode: on a bare guest on both engines, and on the small kernel with its symbols.</summary>
public class RealGdbTests
{
    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void It_breaks_steps_and_reads_a_bare_guest_in_long_mode(string engine)
    {
        var session = new Session(engine, GuestFiles.Require("bare/hot-calls.elf"));
        string said = session.Run(
            "info registers rip",
            "stepi 3", "info registers cs eflags",
            "break outer", "continue", "backtrace 2", "info registers cr0 efer",
            "printf \"esi is %d\\n\", $esi",
            "break inner", "continue", "delete", "stepi", "x/i $pc",
            "set $rax = 7", "print $rax", "info threads", "monitor pagetables 0x100000", "kill");
        said.Should().MatchRegex(@"rip +0x100100")
            .And.Contain("in outer ()")
            .And.MatchRegex(@"efer +0x[0-9a-f]*d?00")
            .And.Contain("in inner ()")
            .And.Contain("xor    $0x55,%eax", "the instruction behind LEA")
            .And.Contain("= 7")
            .And.Contain("vcpu0 [running]")
            .And.Contain("guest-physical 100000")
            .And.NotContain("Error");
    }

    [SkippableFact]
    public void Watchpoints_are_refused_on_a_KVM_without_them_and_work_in_software()
    {
        var soft = new Session("soft", GuestFiles.Require("bare/hot-copy.elf"));
        soft.Run("watch *(long *)0x900000", "continue", "info registers rsi", "rwatch *(long *)0x800008", "continue", "kill")
            .Should().Contain("Hardware watchpoint 1").And.MatchRegex(@"Hardware (read )?watchpoint [12]");
        var kvm = new Session("kvm", GuestFiles.Require("bare/hot-copy.elf"));
        string said = kvm.Run("watch *(long *)0x900000", "continue", "kill");
        if (said.Contains("Could not insert", StringComparison.Ordinal))
            kvm.Notices.Should().Contain("--engine soft");
        else
            said.Should().Contain("Hardware watchpoint 1");
    }

    [SkippableFact]
    public void It_finds_its_way_in_a_kernel_by_its_symbols()
    {
        var session = new Session("soft", GuestFiles.Require("small/vmlinux"));
        string said = session.Run(
            "break start_kernel", "continue", "backtrace", "stepi 200", "info registers",
            // Which comes first is the scheduler's to say.
            "watch *(int *)&system_state", "break kernel_init", "continue", "continue", "print/x $xmm0", "monitor exits", "kill");
        said.Should().Contain("in start_kernel ()")
            .And.Contain("secondary_startup_64", "it was called from there")
            .And.MatchRegex(@"gs_base +0xffff").And.MatchRegex(@"cr3 +0x[0-9a-f]+")
            .And.Contain("Old value = 0").And.Contain("in rest_init ()")
            .And.Contain("in kernel_init ()")
            .And.Contain("v4_int32")
            .And.Contain("instructions");
    }

    [SkippableFact]
    public void It_goes_backwards_in_a_deterministic_kernel()
    {
        var session = new Session("deterministic", GuestFiles.Require("small/vmlinux"));
        string said = session.Run(
            "break start_kernel", "continue", "stepi 3", "info registers rip", "reverse-stepi", "reverse-stepi", "reverse-stepi", "info registers rip",
            "break kernel_init", "continue", "delete", "break rest_init", "reverse-continue", "info symbol $pc",
            "delete", "reverse-continue", "info registers rip", "kill");
        said.Should().Contain("No more reverse-execution history")
            .And.Contain("kernel_init").And.Contain("rest_init in section")
            .And.MatchRegex(@"rip +0x1000000 ", "the first instruction");
        System.Text.RegularExpressions.Regex.Count(said, "in start_kernel").Should().BeGreaterThan(1);
    }

    [SkippableFact]
    public void A_thousand_steps_are_made_by_one_command()
    {
        var session = new Session("soft", GuestFiles.Require("bare/hot-alu.elf"));
        session.Run("stepi 1000", "info registers rip", "kill").Should().MatchRegex(@"rip +0x1001");
    }

    /// <summary>One guest that waits, and one gdb.</summary>
    private sealed class Session(string engine, string kernel)
    {
        private const string Gdb = "/usr/bin/gdb";
        private readonly StringBuilder _notices = new();

        /// <summary>What the server said to people.</summary>
        public string Notices
        {
            get
            {
                lock (_notices)
                    return _notices.ToString();
            }
        }

        /// <summary>Gives gdb commands and returns all it said.</summary>
        public string Run(params string[] commands)
        {
            Skip.IfNot(File.Exists(Gdb), "needs gdb (Debian package gdb), which scripts/test installs");
            if (engine == "kvm")
                TinyMachine.RequireKvm();
            var config = new VmConfig
            {
                KernelPath = kernel,
                Engine = engine == "kvm" ? EngineChoice.Kvm : EngineChoice.Soft,
                Deterministic = engine == "deterministic",
                Append = "quiet",
                Timeout = TimeSpan.FromMinutes(5),
            };
            using var machine = VirtualMachine.Build(config, new VmHost());
            using var server = new GdbServer(machine, new GdbEndpoint(0, null), text =>
            {
                lock (_notices)
                    _notices.AppendLine(text);
            });
            machine.Start();
            var start = new ProcessStartInfo(Gdb) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
            foreach (string word in (string[])["-nx", "-batch", kernel, "-ex", "set pagination off", "-ex", "set remotetimeout 60", "-ex", $"target remote {server.Address}"])
                start.ArgumentList.Add(word);
            foreach (string command in commands)
            {
                start.ArgumentList.Add("-ex");
                start.ArgumentList.Add(command);
            }

            using var gdb = Process.Start(start)!;
            gdb.StandardInput.Close();
            var error = gdb.StandardError.ReadToEndAsync();
            string said = gdb.StandardOutput.ReadToEnd() + error.GetAwaiter().GetResult();
            gdb.WaitForExit();
            machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue("the session ends with kill; gdb said: " + said);
            return said;
        }
    }
}
