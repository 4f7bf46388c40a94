namespace Kvm.Devices.Interrupts;

/// <summary>
/// A way for one message that is sent again and again: set when the message changes, signalled each time. Safe from any thread; setting it is the
/// sender's to serialise.
/// </summary>
public interface IMsiRoute
{
    /// <summary>What a signal sends from now on; costly beside a signal.</summary>
    /// <param name="address">The message address; guest-chosen, so anything may come.</param>
    /// <param name="data">The message data.</param>
    /// <returns>False if that cannot be: the message is to be sent by <see cref="IMsiSink.Send"/>.</returns>
    bool TrySet(ulong address, uint data);

    /// <summary>Sends the message.</summary>
    void Signal();
}
