using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Kvm.Tests.Support;

/// <summary>Runs code on a thread that has a network of its own, with nothing in it but a loopback, which is gone when the thread and what it opened are.</summary>
internal static partial class NetworkNamespace
{
    private const int NewNetwork = 0x4000_0000;

    /// <summary>Runs <paramref name="action"/>; skips the test where that is not permitted.</summary>
    public static void Run(Action action)
    {
        Exception? thrown = null;
        bool permitted = false;
        var thread = new Thread(() =>
        {
            try
            {
                permitted = unshare(NewNetwork) == 0;
                if (permitted)
                    action();
            }
            catch (Exception e)
            {
                thrown = e;
            }
        });
        thread.Start();
        thread.Join();
        Skip.IfNot(permitted, "this user may not make a network namespace (CAP_SYS_ADMIN)");
        if (thrown is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(thrown);
    }

    /// <summary>Skips the test where there is no TAP to be had.</summary>
    public static void SkipWithoutTap()
    {
        Skip.IfNot(File.Exists("/dev/net/tun"), "there is no /dev/net/tun");
        Skip.IfNot(Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(d => File.Exists(Path.Combine(d, "ip"))), "ip is not installed (iproute2)");
    }

    /// <summary>The program <c>ip</c>, in the network of the thread that asks.</summary>
    public static string Ip(string arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("ip", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        string output = process.StandardOutput.ReadToEnd(), errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"ip {arguments}: {errors}");
    }

    [LibraryImport("libc")]
    private static partial int unshare(int flags);
}
