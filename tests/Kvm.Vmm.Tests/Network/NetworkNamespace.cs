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

    /// <summary>
    /// Runs something on a thread that may not do what root may: another user's, for good. It is to have been done before, and to check nothing: no code can be
    /// loaded there.
    /// </summary>
    public static void RunAsNobody(Action action)
    {
        Exception? thrown = null;
        bool became = false;
        var thread = new Thread(() =>
        {
            // The system call changes this thread alone; the library's function would change all.
            const long setresuid = 117, nobody = 65534;
            became = syscall(setresuid, nobody, nobody, nobody) == 0;
            if (became)
                thrown = Record.Exception(action);
        });
        thread.Start();
        thread.Join();
        Skip.IfNot(became, "this user may not become another one");
        if (thrown is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(thrown);
    }

    /// <summary>Runs something while a thread has no descriptor left; in a table of its own, which nobody shares. As for <see cref="RunAsNobody"/>.</summary>
    public static void UseUpDescriptors(Action action)
    {
        Exception? thrown = null;
        bool permitted = false;
        const int most = 1 << 21;
        var thread = new Thread(() =>
        {
            const int files = 0x400;
            int opened = 0;
            permitted = unshare(files) == 0;
            while (permitted && opened < most && dup(0) >= 0)
                opened++;
            permitted &= opened < most;
            if (permitted)
                thrown = Record.Exception(action);
        });
        thread.Start();
        thread.Join();
        Skip.IfNot(permitted, "a table of descriptors cannot be filled here");
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

    [LibraryImport("libc")]
    private static partial int dup(int fd);

    [LibraryImport("libc")]
    private static partial long syscall(long number, long first, long second, long third);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mount(string source, string target, string? type, ulong flags, string? data);
}
