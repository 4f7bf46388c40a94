namespace Kvm.Interop;

/// <summary>The kernel's random numbers. Safe from any thread.</summary>
public static unsafe class HostRandom
{
    /// <summary>Fills all of <paramref name="buffer"/>; waits only in the first seconds of a host's life. Never allocates.</summary>
    public static void Fill(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            for (nuint done = 0; done < (nuint)buffer.Length;)
            {
                // Long requests come back short when a signal arrives (getrandom(2)).
                nint count = Libc.getrandom(start + done, (nuint)buffer.Length - done, 0);
                if (count > 0)
                {
                    done += (nuint)count;
                }
                else if (Errno.Last is not Errno.EINTR and var errno)
                {
                    throw new KvmException("getrandom", errno);
                }
            }
        }
    }
}
