using System.IO.Pipes;

namespace Kvm.Interop.Tests.Host;

/// <summary>Files whose last close is left to the kernel.</summary>
public sealed class BackgroundCloseTests
{
    [SkippableFact]
    public async Task A_file_that_is_held_stays_open_until_the_ring_is_gone()
    {
        using AnonymousPipeServerStream reader = new(PipeDirection.In, HandleInheritability.None);
        var writer = new FdHandle((int)reader.ClientSafePipeHandle.DangerousGetHandle());
        FdHandle? ring = BackgroundClose.Hold(writer);
        Skip.If(ring is null, "io_uring: not there or not permitted");
        writer.Dispose();
        reader.ClientSafePipeHandle.SetHandleAsInvalid(); // closed above

        Task<int> end = reader.ReadAsync(new byte[1]).AsTask();
        end.IsCompleted.Should().BeFalse("the ring still holds the writing end");
        ring!.Dispose();

        (await end.WaitAsync(TimeSpan.FromSeconds(10))).Should().Be(0, "the last writer is gone");
    }
}
