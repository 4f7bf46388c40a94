using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm;

/// <summary>Virtual machines in one call. Thread-safe; guests of one process run beside each other.</summary>
public static class Vm
{
    /// <summary>Runs a guest to its end.</summary>
    /// <param name="kernel">Path of a bzImage or an ELF image, told apart by content.</param>
    /// <param name="initrd">Path of the initial RAM file system, or null.</param>
    /// <param name="append">Added to the kernel command line that the machine builds for itself.</param>
    /// <param name="console">Takes what the guest prints; stays the caller's. Null discards it.</param>
    /// <param name="cancellation">Ends the guest.</param>
    /// <returns>How the guest ended and what it did: a panic is a result (<see cref="RunResult.Outcome"/>), not an exception.</returns>
    /// <exception cref="VmmException">An input file or the host does not allow the machine.</exception>
    /// <exception cref="OperationCanceledException">The guest was ended by <paramref name="cancellation"/>; nothing of it is left.</exception>
    /// <exception cref="IOException"><paramref name="console"/> took no more; the guest was ended.</exception>
    public static Task<RunResult> RunAsync(
        string kernel, string? initrd = null, string append = "", Stream? console = null, CancellationToken cancellation = default) =>
        RunAsync(new VmConfig { KernelPath = kernel, InitrdPath = initrd, Append = append }, console, cancellation);

    /// <summary>Runs a guest to its end, as <see cref="RunAsync(string, string?, string, Stream?, CancellationToken)"/> does.</summary>
    /// <param name="config">The machine.</param>
    /// <param name="console">Takes what the guest prints, or null.</param>
    /// <param name="cancellation">Ends the guest.</param>
    /// <returns>How the guest ended and what it did.</returns>
    public static async Task<RunResult> RunAsync(VmConfig config, Stream? console = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        cancellation.ThrowIfCancellationRequested();
        var output = new ConsoleOutput(console);
        // Reading a kernel and the first probe of the host take long enough to be in nobody's way.
        using var machine = await Task.Run(
            () => VirtualMachine.Build(config, new VmHost { ConsoleOutput = console is null ? null : output.Write }), cancellation).ConfigureAwait(false);
        output.Failed = () => machine.Stop(VmOutcome.Error);
        machine.Start();
        using var ending = cancellation.Register(() => machine.Stop(VmOutcome.StoppedByUser));
        var result = await machine.Ended.ConfigureAwait(false);
        if (result.Outcome == VmOutcome.StoppedByUser)
            cancellation.ThrowIfCancellationRequested();
        if (output.Fault is { } fault)
            throw new IOException("the console's stream took no more of what the guest printed", fault);
        return result;
    }

    /// <summary>A stream as the guest's console: its first exception ends the guest instead of a vCPU thread.</summary>
    private sealed class ConsoleOutput(Stream? stream)
    {
        public Action? Failed { get; set; }

        public Exception? Fault { get; private set; }

        public void Write(ReadOnlySpan<byte> text)
        {
            if (Fault is not null)
                return;
            try
            {
                stream!.Write(text);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException or NotSupportedException or UnauthorizedAccessException)
            {
                Fault = e;
                Failed?.Invoke();
            }
        }
    }
}
