using Kvm.Cli.Text;
using Kvm.Vmm;

namespace Kvm.Cli;

/// <summary>
/// What happens when an exception leaves a thread, or the process ends by another way than the main thread's: the terminal is put
/// back, and the error is told like any other instead of a stack trace and a core dump.
/// </summary>
internal static class LastResort
{
    private static Action? _restore;

    /// <summary>True to print where an exception was thrown.</summary>
    public static bool Verbose { get; set; }

    /// <summary>Puts back what the process changed outside itself; called at most a few times, from any thread.</summary>
    public static Action? Restore
    {
        get => Volatile.Read(ref _restore);
        set => Volatile.Write(ref _restore, value);
    }

    /// <summary>Begins to watch.</summary>
    public static void Install()
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Restore?.Invoke();
        AppDomain.CurrentDomain.UnhandledException += (_, e) =>
        {
            Restore?.Invoke();
            if (e.ExceptionObject is Exception exception)
                StandardStreams.Error(ErrorText.Of(ErrorText.Unexpected(exception), Verbose));
            Environment.Exit(ExitCode.HostFailure);
        };
    }
}
