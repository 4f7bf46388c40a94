using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Kvm.Tests.Support;

/// <summary>Runs code on a thread that has a network of its own, with nothing in it but a loopback, which is gone when the thread and what it opened are.</summary>
internal static partial class NetworkNamespace
{
    private const int NewNetwork = 0x4000_0000, NewMounts = 0x0002_0000;
    private const ulong Bind = 0x1000, Recursive = 0x4000, Private = 1 << 18;

    /// <summary>Runs <paramref name="action"/>; skips the test where that is not permitted.</summary>
    /// <param name="action">What is run.</param>
    /// <param name="resolver">What /etc/resolv.conf is to hold for the thread and those it starts; null leaves it.</param>
    public static void Run(Action action, string? resolver = null)
    {
        Exception? thrown = null;
        bool permitted = false;
        var thread = new Thread(() =>
        {
            try
            {
                permitted = unshare(NewNetwork) == 0;
                if (permitted && resolver is not null)
                    permitted = TrySetResolver(resolver);
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

    private static bool TrySetResolver(string text)
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, text);
            return unshare(NewMounts) == 0 && mount("none", "/", null, Recursive | Private, null) == 0
                && mount(file, "/etc/resolv.conf", null, Bind, null) == 0;
        }
        finally
        {
            File.Delete(file);
        }
    }

    [LibraryImport("libc")]
    private static partial int unshare(int flags);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mount(string source, string target, string? type, ulong flags, string? data);
}
