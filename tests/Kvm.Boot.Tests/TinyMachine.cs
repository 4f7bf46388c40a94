using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>Runs a tiny kernel to its end and keeps what it wrote to its console.</summary>
internal static class TinyMachine
{
    /// <summary>Skips the calling test where there is no usable /dev/kvm.</summary>
    public static void RequireKvm()
    {
        string? why = null;
        try
        {
            using var _ = File.OpenHandle("/dev/kvm", FileMode.Open, FileAccess.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            why = e.Message;
        }

        Skip.If(why is not null, $"needs /dev/kvm: {why}");
    }

    /// <summary>Runs <paramref name="kernel"/>; the time limit is a safety net, not an expectation.</summary>
    public static (RunResult Result, string Console) Run(byte[] kernel, Func<VmConfig, VmConfig>? change = null, Action<VirtualMachine>? meanwhile = null, bool quiet = false, Kvm.Vmm.Scheduling.GateSeats? seats = null)
    {
        string path = Path.Combine(Path.GetTempPath(), $"kvmsharp-tiny-{Guid.NewGuid():n}");
        File.WriteAllBytes(path, kernel);
        try
        {
            var output = new StringBuilder();
            var config = new VmConfig { KernelPath = path, MemoryBytes = 16 << 20, Engine = EngineChoice.Kvm, Timeout = TimeSpan.FromSeconds(20) };
            using var vm = VirtualMachine.Build(change?.Invoke(config) ?? config, new VmHost
            {
                Seats = seats,
                ConsoleOutput = quiet ? null : text =>
                {
                    lock (output)
                        output.Append(Encoding.Latin1.GetString(text));
                },
            });
            vm.Start();
            meanwhile?.Invoke(vm);
            vm.Ended.Wait(TimeSpan.FromSeconds(30)).Should().BeTrue("every run ends at its time limit at the latest");
            return (vm.Ended.Result, output.ToString());
        }
        finally
        {
            File.Delete(path);
        }
    }
}
