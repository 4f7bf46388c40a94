using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>Boots a Linux kernel with the project's initramfs to its end.</summary>
internal static class LinuxGuest
{
    /// <summary>Runs; <paramref name="task"/> names a script of tests/guest/run, or nothing; <paramref name="meanwhile"/> is called once it runs.</summary>
    /// <param name="kernel">Below artifacts/guest.</param>
    /// <param name="engine">Who runs it.</param>
    /// <param name="task">The script.</param>
    /// <param name="limit">The longest it may take.</param>
    /// <param name="change">What is to be other than usual.</param>
    /// <param name="meanwhile">Called once the guest runs.</param>
    /// <param name="when">Texts in the order in which the guest is to print them, and what is done at that moment, on the thread on which it prints.</param>
    public static LinuxRun Boot(string kernel, EngineChoice engine, string? task, TimeSpan limit, Func<VmConfig, VmConfig>? change = null,
        Action<VirtualMachine>? meanwhile = null, params (string Text, Action<VirtualMachine> Then)[] when)
    {
        var output = new StringBuilder();
        var awaited = new Queue<(string Text, Action<VirtualMachine> Then)>(when);
        string unseen = "";
        VirtualMachine? running = null;
        var config = new VmConfig
        {
            KernelPath = GuestFiles.Require(kernel),
            InitrdPath = GuestFiles.Require("initramfs/initramfs.cpio"),
            Engine = engine,
            Append = task is null ? "" : $"kvmsharp.run={task}",
            ReadyMatch = "GUEST-UP",
            Timeout = limit,
        };
        using var vm = VirtualMachine.Build(change?.Invoke(config) ?? config, new VmHost
        {
            ConsoleOutput = text =>
            {
                lock (output)
                {
                    output.Append(Encoding.Latin1.GetString(text));
                    if (awaited.Count == 0)
                        return;
                    unseen += Encoding.Latin1.GetString(text);
                    if (unseen.Contains(awaited.Peek().Text, StringComparison.Ordinal))
                    {
                        unseen = "";
                        awaited.Dequeue().Then(running!);
                    }
                    else if (unseen.Length > 1000)
                        unseen = unseen[^100..];
                }
            },
        });
        running = vm;
        vm.Start();
        meanwhile?.Invoke(vm);
        var result = vm.Ended.GetAwaiter().GetResult();
        lock (output)
            return new LinuxRun(result, output.ToString());
    }
}

/// <summary>What a Linux guest did.</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Console">All it printed.</param>
public sealed record LinuxRun(RunResult Result, string Console)
{
    /// <summary>The end of the console, for messages of failed assertions.</summary>
    public string Tail => Console.Length > 3000 ? Console[^3000..] : Console;
}
